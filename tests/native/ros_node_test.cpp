// The ROS 2 node of the examples lives on, whatever it is sent. ROS itself is not here: the node is compiled
// as it stands against the stand-ins of tests/native/ros, which throw where the real headers throw.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "core/files.hpp"
#include "runtime/native/examples/ros2/vreid_ros/src/vreid_node.cpp"
#include "vreid/engine.hpp"

namespace {

namespace fs = std::filesystem;
using vision_msgs::msg::Detection2D;
using vreid_ros::Detection2DArray;
using vreid_ros::Image;
using Both =
    message_filters::Synchronizer<message_filters::sync_policies::ExactTime<Image, Detection2DArray>>;

const fs::path COLOUR = fs::path(VREID_ROOT) / "tests" / "data" / "colour" / "colour.json";

Image::ConstSharedPtr picture(const std::string& encoding = "bgr8", std::uint32_t side = 64) {
    auto made = std::make_shared<Image>();
    made->height = side;
    made->width = side;
    made->step = 3 * side;
    made->encoding = encoding;
    made->data.resize(std::size_t{3} * side * side);
    for (std::size_t at = 0; at < made->data.size(); ++at) made->data[at] = at % 3 == 2 ? 200 : 0;  // red
    return made;
}

/// One of the tracker's first track.
Detection2D box(double x, double y, double width, double height, const std::string& track = "1") {
    Detection2D made;
    made.bbox.center.position = {x, y};
    made.bbox.size_x = width;
    made.bbox.size_y = height;
    made.id = track;
    return made;
}

Detection2DArray::ConstSharedPtr detections(std::vector<Detection2D> all) {
    auto made = std::make_shared<Detection2DArray>();
    made->detections = std::move(all);
    return made;
}

class RosNode : public testing::Test {
 protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("vreid-ros-" + std::to_string(::getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        auto engines = vreid::engine_names();
        if (engines.empty() || engines.front() == "tensorrt") GTEST_SKIP() << "no engine for ONNX files";
        fs::copy_file(COLOUR.parent_path() / "colour.onnx", folder_ / "colour.onnx");
        std::string manifest = vreid::read_bytes(COLOUR);
        const std::string backend = "\"onnxruntime\"";
        const auto at = manifest.find(backend);
        ASSERT_NE(at, std::string::npos);
        manifest.replace(at, backend.size(), "\"" + engines.front() + "\"");
        std::ofstream(folder_ / "colour.json") << manifest;
        {
            auto gallery =
                vreid::open_gallery(folder_ / "g.db", vreid::read_manifest(folder_ / "colour.json"), true);
            gallery.add_prototype(gallery.add_vehicle("red"), "gate", {0, 0, 1});
        }
        rclcpp::NodeOptions options;
        options.parameters = {{"model", (folder_ / "colour.json").string()},
                              {"gallery", (folder_ / "g.db").string()},
                              {"threshold", 0.9}};
        node = std::make_unique<vreid_ros::VreidNode>(options);
    }
    void TearDown() override {
        node.reset();
        fs::remove_all(folder_);
    }

    void give(const Image::ConstSharedPtr& image, const Detection2DArray::ConstSharedPtr& found) {
        Both::last()->give(image, found);
    }

    [[nodiscard]] std::vector<Detection2DArray>& sent() const {
        return static_cast<rclcpp::Publisher<Detection2DArray>*>(node->publishers.at("vehicles").get())->sent;
    }

    /// A sound message is answered.
    void expect_alive() {
        const std::size_t before = sent().size();
        give(picture(), detections({box(20, 20, 20, 20)}));
        ASSERT_EQ(sent().size(), before + 1);
        EXPECT_EQ(sent().back().detections.at(0).id, "red");
    }

    std::unique_ptr<vreid_ros::VreidNode> node;

 private:
    fs::path folder_;
};

TEST_F(RosNode, NamesTheVehicles) { expect_alive(); }

TEST_F(RosNode, ATrackKeepsItsNameUntilItEndsAndADetectionWithoutOneIsLookedUp) {
    const auto names = [this] {
        std::vector<std::string> found;
        for (const auto& one : sent().back().detections) found.push_back(one.id);
        return found;
    };
    const auto at = [](int second) {
        auto made = std::make_shared<Image>(*picture());
        made->header.stamp.sec = second;
        return made;
    };
    give(at(10), detections({box(20, 20, 20, 20), box(40, 40, 10, 10, "")}));
    EXPECT_EQ(names(), (std::vector<std::string>{"red", "red"}));
    give(at(10), detections({box(20, 20, 8, 8)}));  // too small to be embedded: the track is known already
    EXPECT_EQ(names(), (std::vector<std::string>{"red"}));
    give(at(12), detections({box(20, 20, 8, 8, "2")}));
    EXPECT_EQ(names(), (std::vector<std::string>{""}));
    give(at(13), detections({box(20, 20, 8, 8)}));  // the first one ended: this is another with its name
    EXPECT_EQ(names(), (std::vector<std::string>{""}));
    give(at(10), detections({box(20, 20, 20, 20)}));  // a recording that begins again
    EXPECT_EQ(names(), (std::vector<std::string>{"red"}));
}

TEST_F(RosNode, LivesOnAfterPicturesThatItCannotUse) {
    auto cut = std::make_shared<Image>(*picture());
    cut->data.resize(10);
    auto empty = std::make_shared<Image>();
    empty->encoding = "bgr8";
    const std::vector<Image::ConstSharedPtr> wrong{picture("bayer_unknown"), picture("bgr8", 0), cut, empty};
    for (const auto& image : wrong) {
        give(image, detections({box(20, 20, 20, 20)}));
        EXPECT_FALSE(node->logged.empty());
        EXPECT_TRUE(sent().empty());
        node->logged.clear();
    }
    expect_alive();
}

TEST_F(RosNode, LeavesBoxesThatAreNotFiniteWithoutAName) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double inf = std::numeric_limits<double>::infinity();
    give(picture(), detections({box(nan, 20, 10, 10), box(20, 20, 20, 20), box(20, inf, 10, 10),
                                box(20, 20, nan, 10), box(1e300, 20, 10, 10), box(20, 20, 10, -inf)}));
    ASSERT_EQ(sent().size(), 1U);
    std::vector<std::string> names;
    for (const auto& one : sent()[0].detections) names.push_back(one.id);
    EXPECT_EQ(names, (std::vector<std::string>{"", "red", "", "", "", ""}));
    give(picture(), detections({}));
    EXPECT_EQ(sent().size(), 2U);
    expect_alive();
}

}  // namespace

// A ROS 2 node: an image and the vehicles that a detector found in it come in, the same vehicles with their
// names go out.
#if __has_include(<cv_bridge/cv_bridge.hpp>)
#include <cv_bridge/cv_bridge.hpp>
#else
#include <cv_bridge/cv_bridge.h>  // up to Iron
#endif
#include <message_filters/subscriber.h>
#include <message_filters/sync_policies/exact_time.h>
#include <message_filters/synchronizer.h>

#include <cmath>
#include <memory>
#include <optional>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <string>
#include <vector>
#include <vision_msgs/msg/detection2_d_array.hpp>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/preprocess.hpp"

namespace vreid_ros {

using sensor_msgs::msg::Image;
using vision_msgs::msg::Detection2DArray;

/// Parameters: model (a manifest), gallery (its file, only read), threads, threshold (below: unknown; the
/// manifest's by default). Topics: image and detections, of one time stamp, in; vehicles out: each
/// detection's id is the vehicle's name, or empty where it is unknown or its box is not finite.
class VreidNode : public rclcpp::Node {
 public:
    explicit VreidNode(const rclcpp::NodeOptions& options)
        : Node("vreid", options),
          embedder_(vreid::open_embedder(declare_parameter<std::string>("model"),
                                         static_cast<int>(declare_parameter<int>("threads", 1)))),
          gallery_(
              vreid::open_gallery(declare_parameter<std::string>("gallery"), embedder_.manifest(), false)),
          images_(this, "image", rclcpp::SensorDataQoS().get_rmw_qos_profile()),
          detections_(this, "detections", rclcpp::SensorDataQoS().get_rmw_qos_profile()),
          both_(Policy(10), images_, detections_) {
        const auto& match = embedder_.manifest().match;
        threshold_ = declare_parameter<double>("threshold", match ? match->threshold : 0.7);
        vehicles_ = create_publisher<Detection2DArray>("vehicles", 10);
        both_.registerCallback(&VreidNode::see, this);
    }

 private:
    using Policy = message_filters::sync_policies::ExactTime<Image, Detection2DArray>;

    /// A message that cannot be used, or a gallery that was moved away, ends nothing: the next picture may
    /// do.
    void see(const Image::ConstSharedPtr& image, const Detection2DArray::ConstSharedPtr& found) {
        try {
            vehicles_->publish(named(image, *found));
        } catch (
            const std::exception& error) {  // vreid::Refused, cv_bridge::Exception, cv::Exception, no memory
            RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
        }
    }

    /// The detections with the vehicles' names; those whose box is not finite stay without one.
    Detection2DArray named(const Image::ConstSharedPtr& image, const Detection2DArray& found) {
        const cv_bridge::CvImageConstPtr shared = cv_bridge::toCvShare(image, "bgr8");
        Detection2DArray told = found;
        std::vector<cv::Mat> crops;
        std::vector<std::size_t> places;
        for (std::size_t place = 0; place < told.detections.size(); ++place) {
            told.detections[place].id.clear();
            const std::optional<vreid::Box> box = box_of(told.detections[place]);
            if (!box) continue;
            crops.push_back(vreid::cut_out(shared->image, *box));
            places.push_back(place);
        }
        if (crops.empty()) return told;
        const std::vector<std::vector<vreid::Hit>> hits = gallery_.search(embedder_.embed(crops), 1);
        for (std::size_t at = 0; at < hits.size(); ++at) {
            const bool known = !hits[at].empty() && static_cast<double>(hits[at][0].score) >= threshold_;
            if (known) told.detections[places[at]].id = hits[at][0].name;
        }
        return told;
    }

    /// None for a box that is NaN, infinite or beyond all pictures.
    static std::optional<vreid::Box> box_of(const vision_msgs::msg::Detection2D& detection) {
        constexpr double FARTHEST = 1e9;  // pixels
        const auto& box = detection.bbox;
        const double x = box.center.position.x;
        const double y = box.center.position.y;
        const double sides[] = {x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2,
                                y + box.size_y / 2};
        for (const double side : sides) {
            if (!(std::abs(side) < FARTHEST)) return std::nullopt;
        }
        const auto real = [](double side) { return static_cast<float>(side); };
        return vreid::Box{real(sides[0]), real(sides[1]), real(sides[2]), real(sides[3])};
    }

    vreid::Embedder embedder_;
    vreid::Gallery gallery_;
    double threshold_ = 0;
    message_filters::Subscriber<Image> images_;
    message_filters::Subscriber<Detection2DArray> detections_;
    message_filters::Synchronizer<Policy> both_;
    rclcpp::Publisher<Detection2DArray>::SharedPtr vehicles_;
};

}  // namespace vreid_ros

RCLCPP_COMPONENTS_REGISTER_NODE(vreid_ros::VreidNode)

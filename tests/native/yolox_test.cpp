// What goes into a YOLOX and comes out of it: the same as runtime/detectors/yolox.py.
#include "watch/yolox.hpp"

#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>

#include "golden.hpp"
#include "watch/boxes.hpp"

using namespace vreid;
using namespace vreid::watch;

namespace {

void expect_equal(const Detections& ours, const nlohmann::json& theirs, double slack) {
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) {
        const auto told = theirs[i].get<std::vector<double>>();
        const std::vector<float> sides{ours[i].box.x1, ours[i].box.y1, ours[i].box.x2, ours[i].box.y2,
                                       ours[i].score};
        for (std::size_t side = 0; side < sides.size(); ++side) {
            const double most = slack * std::max(1.0, std::abs(told[side]));
            EXPECT_NEAR(static_cast<double>(sides[side]), told[side], most) << "row " << i;
        }
        EXPECT_EQ(ours[i].kind, static_cast<int>(told[5]));
    }
}

}  // namespace

TEST(Yolox, TheGridFollowsTheStrides) {
    const auto grid = grid_of({416, 416});
    ASSERT_EQ(grid.size(), 3549U);
    EXPECT_EQ(grid[53].x, 1);
    EXPECT_EQ(grid[53].y, 1);
    EXPECT_EQ(grid.back().stride, 32);
}

TEST(Yolox, GoldenViewsAreEqual) {
    READ_GOLDEN(says, "views");
    for (const auto& one : says) {
        const auto views = views_of({one["width"], one["height"]}, one["tiles"]);
        ASSERT_EQ(views.size(), one["views"].size());
        for (std::size_t i = 0; i < views.size(); ++i) {
            const View& v = views[i];
            const std::vector<int> ours{v.left,     v.top,      v.right,    v.bottom,
                                        v.inner[0], v.inner[1], v.inner[2], v.inner[3]};
            EXPECT_EQ(ours, one["views"][i].get<std::vector<int>>()) << one["tiles"];
        }
    }
}

TEST(Yolox, GoldenLettersAreEqual) {
    READ_GOLDEN(says, "letters");
    const cv::Mat frame = cv::imread((golden::folder() / "crops.png").string());
    for (const auto& one : says) {
        const auto part = one["part"].get<std::vector<int>>();
        const cv::Size letter(one["width"], one["height"]);
        std::vector<float> planes(3 * static_cast<std::size_t>(letter.area()));
        const double scale =
            letterboxed(frame(cv::Rect(part[0], part[1], part[2], part[3])), letter, planes.data());
        EXPECT_EQ(scale, one["scale"].get<double>());
        const cv::Mat theirs = cv::imread((golden::folder() / one["file"].get<std::string>()).string());
        ASSERT_EQ(theirs.size(), letter);
        double most = 0;
        for (int channel = 0; channel < 3; ++channel) {
            cv::Mat plane, difference;
            cv::extractChannel(theirs, plane, channel);
            plane.convertTo(plane, CV_32F);
            cv::absdiff(cv::Mat(letter, CV_32F, planes.data() + channel * letter.area()), plane, difference);
            double here = 0;
            cv::minMaxLoc(difference, nullptr, &here);
            most = std::max(most, here);
        }
        EXPECT_LE(most, 1) << one.dump();  // two OpenCVs may round a level apart
        RecordProperty("most_levels", std::to_string(most));
    }
}

TEST(Yolox, GoldenRowsGiveTheSameVehicles) {
    READ_GOLDEN(says, "yolox");
    for (const auto& one : says) {
        const auto rows = one["rows"].get<std::vector<float>>();
        const cv::Size letter(one["width"], one["height"]);
        const auto found = decoded(rows.data(), grid_of(letter), one["min_score"]);
        expect_equal(found, one["decoded"], 1e-5);
        const auto v = one["view"].get<std::vector<int>>();
        const View view{v[0], v[1], v[2], v[3], {v[4] != 0, v[5] != 0, v[6] != 0, v[7] != 0}};
        const auto inside = placed(found, view, one["scale"]);
        expect_equal(inside, one["placed"], 1e-5);
        expect_equal(strongest(inside, 0.45), one["strongest"], 1e-5);
    }
}

// Which crops are worth embedding: the same as runtime/crops.py.
#include "watch/crops.hpp"

#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>

#include "golden.hpp"

using namespace vreid;
using namespace vreid::watch;

TEST(Crops, ACrowdedFrameAsksForNothingTwice) {
    const Box box{0, 0, 40, 30};
    EXPECT_TRUE(deserves(smart(), box, 0, HUGE_VAL, 0.2, 0));
    EXPECT_FALSE(deserves(smart(), box, 1, 0.1, 0.2, 0.2));
    EXPECT_TRUE(deserves(smart(), box, 1, 0.3, 0.2, 0.2));
    EXPECT_TRUE(deserves(every(), box, 1'000'000, 0.0, 0.2, 0.2));
    EXPECT_FALSE(deserves(every(), {0, 0, 15, 30}, 0, HUGE_VAL, 1, 0));
}

TEST(Crops, GoldenQualitiesAreEqual) {
    READ_GOLDEN(says, "crops");
    const cv::Mat frame = cv::imread((golden::folder() / "crops.png").string());
    ASSERT_FALSE(frame.empty());
    for (const auto& one : says["boxes"]) {
        const auto sides = one["box"].get<std::vector<float>>();
        const Box box{sides[0], sides[1], sides[2], sides[3]};
        const cv::Rect found = pixels_of(box, frame.size(), one["margin"].get<float>());
        const std::vector<int> rect{found.x, found.y, found.width, found.height};
        ASSERT_EQ(rect, one["pixels"].get<std::vector<int>>()) << one.dump();
        const cv::Mat crop = frame(found);
        EXPECT_NEAR(ceiling_of(crop, box, frame.size()), one["ceiling"].get<double>(), 1e-12);
        EXPECT_NEAR(quality_of(crop, box, frame.size()), one["quality"].get<double>(), 1e-5) << one.dump();
    }
    for (const auto& one : says["deserves"]) {
        const auto sides = one["box"].get<std::vector<float>>();
        const bool found =
            deserves(one["every"].get<bool>() ? every() : smart(), {sides[0], sides[1], sides[2], sides[3]},
                     one["embedded"], golden::number(one["since"]), one["quality"], one["best"]);
        ASSERT_EQ(found, one["is"].get<bool>()) << one.dump();
    }
}

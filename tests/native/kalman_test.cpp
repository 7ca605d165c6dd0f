// The filters of the tracker: the same numbers as runtime/kalman.py.
#include "watch/kalman.hpp"

#include <gtest/gtest.h>

#include "golden.hpp"

using namespace vreid;
using namespace vreid::watch;

namespace {

Box box_of(const nlohmann::json& sides) {
    return {sides[0].get<float>(), sides[1].get<float>(), sides[2].get<float>(), sides[3].get<float>()};
}

void expect_equal(const Four& ours, const nlohmann::json& theirs, const char* what, std::size_t step) {
    for (std::size_t i = 0; i < 4; ++i) {
        const double told = theirs[i].get<double>();
        EXPECT_NEAR(ours[i], told, 1e-12 * std::max(1.0, std::abs(told))) << what << ", step " << step;
    }
}

}  // namespace

TEST(Kalman, AStandingBoxStaysAndGrowsSurer) {
    const Box box{10, 20, 50, 60};
    Filter filter = started(box);
    const double first = filter.pp[0];
    for (int i = 0; i < 50; ++i) filter = corrected(predicted(filter, 0.1), box);
    EXPECT_NEAR(filter.corners().x1, 10, 1e-9);
    EXPECT_NEAR(filter.corners().y2, 60, 1e-9);
    EXPECT_LT(filter.pp[0], first);
    EXPECT_NEAR(surprise(filter, box), 0, 1e-12);
}

TEST(Kalman, GoldenStepsAreEqual) {
    READ_GOLDEN(says, "kalman");
    Filter filter;
    std::size_t step = 0;
    for (const auto& one : says) {
        const std::string what = one["do"];
        if (what == "started") filter = started(box_of(one["box"]));
        if (what == "predicted") filter = predicted(filter, one["dt"].get<double>());
        if (what == "corrected") filter = corrected(filter, box_of(one["box"]));
        if (what == "surprise") {
            const double told = one["is"].get<double>();
            EXPECT_NEAR(surprise(filter, box_of(one["box"])), told, 1e-12 * std::max(1.0, told))
                << "step " << step;
        } else {
            expect_equal(filter.place, one["place"], "place", step);
            expect_equal(filter.speed, one["speed"], "speed", step);
            expect_equal(filter.pp, one["pp"], "pp", step);
            expect_equal(filter.pv, one["pv"], "pv", step);
            expect_equal(filter.vv, one["vv"], "vv", step);
        }
        ++step;
    }
    EXPECT_GT(step, 500U);
}

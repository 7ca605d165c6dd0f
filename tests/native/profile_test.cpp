// Timing: percentiles of all while few, of a fair sample when many; what threw is not counted.
#include "vreid/profile.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace {

TEST(Profile, FewTimesAreAllKept) {
    vreid::Profile profile;
    for (int place = 1; place <= 101; ++place) profile.add("embed", place / 1000.0);
    const auto found = profile.summary();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].first, "embed");
    EXPECT_EQ(found[0].second.count, 101);
    EXPECT_NEAR(found[0].second.p50_ms, 51, 1e-9);
    EXPECT_NEAR(found[0].second.p90_ms, 91, 1e-9);
    EXPECT_NEAR(found[0].second.p99_ms, 100, 1e-9);
}

TEST(Profile, ManyTimesAreAFairSample) {
    vreid::Profile profile(2000);
    for (int place = 0; place < 50'000; ++place) profile.add("track", place / 1e6);
    const auto found = profile.summary()[0].second;
    EXPECT_EQ(found.count, 50'000);
    EXPECT_NEAR(found.p50_ms, 25, 2);
    EXPECT_NEAR(found.p90_ms, 45, 2);
}

TEST(Profile, WhatThrewIsNotCounted) {
    vreid::Profile profile;
    { const auto timer = profile.time("search"); }
    try {
        const auto timer = profile.time("search");
        throw std::runtime_error("body");
    } catch (const std::runtime_error&) {
        EXPECT_EQ(profile.summary()[0].second.count, 1);
    }
    EXPECT_EQ(profile.summary()[0].second.count, 1);
}

TEST(Percentile, IsNumpysLinearOne) {
    EXPECT_DOUBLE_EQ(vreid::percentile({4, 1, 3, 2}, 50), 2.5);
    EXPECT_DOUBLE_EQ(vreid::percentile({4, 1, 3, 2}, 90), 3.7);
    EXPECT_DOUBLE_EQ(vreid::percentile({7}, 99), 7);
}

}  // namespace

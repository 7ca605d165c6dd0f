// Percentiles are NumPy's linear ones.
#include "program/measure.hpp"

#include <gtest/gtest.h>

namespace {

using vreid::program::percentile;

TEST(Percentile, IsNumpysLinearOne) {
    EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 50), 2.5);
    EXPECT_DOUBLE_EQ(percentile({4, 1, 3, 2}, 90), 3.7);
    EXPECT_DOUBLE_EQ(percentile({7}, 99), 7);
}

}  // namespace

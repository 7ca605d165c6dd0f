// Times on the command line: an hour of a zone, a day of this machine's, a span before now; and what is none
// of these.
#include "program/times.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

#include "vreid/errors.hpp"

namespace {

using vreid::program::moment_of;

constexpr double EIGHT = 1795334400;  // 2026-11-22T08:00Z

class Times : public testing::Test {
 protected:
    void SetUp() override {
        ::setenv("TZ", "UTC-2", 1);  // two hours east of Greenwich, in POSIX's sign
        ::tzset();
    }
    void TearDown() override {
        ::unsetenv("TZ");
        ::tzset();
    }
};

TEST_F(Times, AZoneIsThatOfTheTextOrTheMachine) {
    EXPECT_EQ(moment_of("2026-11-22T08:00Z"), EIGHT);
    EXPECT_EQ(moment_of("2026-11-22T09:00+01:00"), EIGHT);
    EXPECT_EQ(moment_of("2026-11-22 06:30:15.5-01:30"), EIGHT + 15.5);
    EXPECT_EQ(moment_of("2026-11-22T10:00"), EIGHT);
    EXPECT_EQ(moment_of(" 2026-11-22 "), EIGHT - 10 * 3600);
}

TEST_F(Times, ASpanIsBeforeNow) {
    const double now =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    EXPECT_NEAR(moment_of("2h"), now - 7200, 5);
    EXPECT_NEAR(moment_of("1.5D"), now - 1.5 * 86400, 5);
    EXPECT_EQ(moment_of("2026-11-22T08:00Z"), EIGHT);
}

TEST_F(Times, WhatIsNoTimeIsRefused) {
    for (const char* text : {"", "soon", "2026-02-30", "2026-13-01", "2026-11-22T24:00", "2026-11-22T08:60Z",
                             "2026-11-22T8:00", "0h", "1.2.3h", "h", "-2h", "2y"}) {
        EXPECT_THROW(moment_of(text), vreid::Refused) << text;
    }
}

}  // namespace

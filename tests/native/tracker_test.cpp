// The tracker and its assignment: the same ids and pairs as runtime/tracker.py.
#include "vreid/tracker.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "golden.hpp"
#include "vreid/errors.hpp"
#include "watch/assignment.hpp"

using namespace vreid;

namespace {

Detections detections_of(const nlohmann::json& rows) {
    Detections found;
    for (const auto& row : rows) {
        const auto side = [&](std::size_t i) { return static_cast<float>(golden::number(row[i])); };
        found.push_back({{side(0), side(1), side(2), side(3)}, side(4), row[5].get<int>()});
    }
    return found;
}

}  // namespace

TEST(Tracker, ShowsATrackFromItsSecondSighting) {
    Tracker tracker;
    EXPECT_TRUE(tracker.update(0.0, {{{0, 0, 40, 30}, 0.9F, 2}}).empty());
    const auto shown = tracker.update(0.1, {{{300, 0, 320, 20}, 0.9F, 7}, {{2, 0, 42, 30}, 0.9F, 2}});
    ASSERT_EQ(shown.size(), 1U);
    EXPECT_EQ(shown[0].id, 1);
    EXPECT_EQ(shown[0].seen.kind, 2);
    EXPECT_EQ(tracker.births().at(1).box.x1, 0);
    tracker.close();
    EXPECT_EQ(tracker.finished(), std::vector<std::int64_t>{1});
    EXPECT_TRUE(tracker.finished().empty());
}

TEST(Tracker, RefusesRulesThatMakeNoSense) {
    EXPECT_THROW(Tracker({0.1, 0.5}), Refused);
    EXPECT_THROW(Tracker({0.5, 0.1, 0}), Refused);
    EXPECT_THROW(Tracker({0.5, 0.1, 2, 0.0}), Refused);
    EXPECT_THROW(Tracker({0.5, 0.1, 2, 1.0, 3.0}), Refused);
    EXPECT_THROW(Tracker({0.5, 0.1, 2, 1.0, 0.3, 1.0}), Refused);
}

TEST(Tracker, MemoryStaysBoundedWhereNobodyAsks) {
    Tracker tracker({0.5, 0.1, 1});
    for (int i = 0; i < 10'100; ++i) {
        const auto x = static_cast<float>(1000 * (i % 3));
        tracker.update(2.0 * i, {{{x, 0, x + 20, 20}, 0.9F, 2}});
    }
    tracker.close();
    EXPECT_EQ(tracker.finished().size(), 10'000U);
}

TEST(Tracker, GoldenScenesGiveTheSameIds) {
    READ_GOLDEN(says, "tracker");
    std::size_t shown = 0;
    for (const auto& scene : says) {
        const auto& rules = scene["rules"];
        Tracker tracker({rules[0], rules[1], rules[2], rules[3]});
        std::optional<cv::Size> picture;
        if (!scene["picture"].is_null()) picture = cv::Size(scene["picture"][0], scene["picture"][1]);
        for (const auto& step : scene["steps"]) {
            const auto tracks =
                tracker.update(golden::number(step["time"]), detections_of(step["seen"]), picture);
            std::vector<std::int64_t> ids, born;
            std::vector<float> sides;
            for (const Tracked& one : tracks) {
                ids.push_back(one.id);
                sides.insert(sides.end(),
                             {one.seen.box.x1, one.seen.box.y1, one.seen.box.x2, one.seen.box.y2});
            }
            for (const auto& [id, first] : tracker.births()) born.push_back(id);
            ASSERT_EQ(ids, step["ids"].get<std::vector<std::int64_t>>())
                << scene["name"] << " at " << step["time"];
            ASSERT_EQ(sides, step["boxes"].get<std::vector<float>>());
            ASSERT_EQ(born, step["born"].get<std::vector<std::int64_t>>());
            ASSERT_EQ(tracker.finished(), step["ended"].get<std::vector<std::int64_t>>());
            shown += ids.size();
        }
    }
    EXPECT_GT(shown, 5000U);
}

TEST(Assignment, GoldenMatricesGiveTheSamePairs) {
    READ_GOLDEN(says, "assignment");
    for (const auto& one : says) {
        const auto pairs = watch::assigned(one["gain"], one["rows"], one["columns"]);
        ASSERT_EQ(pairs, one["pairs"].get<std::vector<int>>()) << one.dump();
    }
    EXPECT_GT(says.size(), 1000U);
}

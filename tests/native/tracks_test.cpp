// Tracks that are fed: crops, pooled features and identities as by Python, tests/data/tracks/tracks.json; and
// what is refused.
#include "vreid/tracks.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "core/files.hpp"
#include "vreid/errors.hpp"

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using vreid::Refused;

constexpr int kDim = 8;
constexpr double kNear = 1e-5;  // between NumPy and C++, and between releases of OpenCV
const cv::Size kFrame(320, 240);

/// The picture of test_native_tracks.py.
cv::Mat picture_of(int contrast) {
    cv::Mat made(kFrame, CV_8UC3);
    for (int y = 0; y < made.rows; ++y) {
        for (int x = 0; x < made.cols; ++x) {
            for (int c = 0; c < 3; ++c) {
                made.at<cv::Vec3b>(y, x)[c] = static_cast<std::uint8_t>(
                    128 - contrast + (37 * x + 17 * y + 11 * c) % 64 * contrast / 32);
            }
        }
    }
    return made;
}

vreid::TrackRules rules_of(const Json& given) {
    vreid::TrackRules rules;
    rules.threshold = given.at("threshold");
    rules.enrol_unknown = given.at("enrol_unknown");
    rules.learn = given.at("learn").get<bool>();
    rules.new_below = given.at("new_below").get<double>();
    rules.began = given.at("began");
    rules.run = "live";
    const Json& crops = given.at("crops");
    rules.crops = {crops.at("period"), crops.at("better"), crops.at("margin"), crops.at("least"),
                   crops.at("most")};
    return rules;
}

std::vector<vreid::TrackedBox> boxes_of(const Json& rows) {
    std::vector<vreid::TrackedBox> boxes;
    for (const Json& row : rows) {
        const auto side = [&row](std::size_t at) {
            return row[at].is_string() ? std::numeric_limits<float>::infinity() : row[at].get<float>();
        };
        boxes.push_back({row[0], {side(1), side(2), side(3), side(4)}, row[5]});
    }
    return boxes;
}

class Tracks : public testing::Test {
 protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("vreid-tracks-" + std::to_string(::getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    vreid::Gallery opened(bool write = true) {
        return vreid::open_gallery(folder_ / "g.db", vreid::About{"aaaaaaaa", kDim, "small"}, write);
    }

    /// A gallery with the known vehicles; those with a plate were seen with it once.
    vreid::Gallery with_known(const Json& known, bool write) {
        {
            vreid::Gallery gallery = opened();
            for (const Json& one : known) {
                const std::int64_t vehicle = gallery.add_vehicle(one.at("name").get<std::string>());
                gallery.add_prototype(vehicle, "gate", one.at("feature"));
                if (one.at("plate").is_null()) continue;
                vreid::Sighting seen;
                seen.camera = "gate";
                seen.feature = one.at("feature").get<std::vector<float>>();
                seen.seen = 1e8;
                seen.plate = one.at("plate").get<std::string>();
                gallery.add_sighting(vehicle, seen, 1);
            }
        }
        return opened(write);
    }

    /// What a run of Python keeps of two cameras that have seen 1000 tracks along two axes each.
    void keep_bias() {
        const std::string text =
            R"({"version": 1, "frozen": false, "pairs": [], "cameras": [)"
            R"({"camera": "gate", "tracks": 1000, "mean": "AACAPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},)"
            R"({"camera": "yard", "tracks": 1000, "mean": "AAAAAAAAgD8AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]})";
        const std::string statement = "INSERT INTO meta VALUES ('site threshold', '" + text + "')";
        sqlite3* file = nullptr;
        ASSERT_EQ(sqlite3_open((folder_ / "g.db").c_str(), &file), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(file, statement.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
        sqlite3_close(file);
    }

 private:
    fs::path folder_;
};

void expect_crops(const std::vector<vreid::TrackCrop>& found, const Json& wanted) {
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t at = 0; at < found.size(); ++at) {
        EXPECT_EQ(found[at].track, wanted[at][0]);
        EXPECT_NEAR(found[at].quality, wanted[at][1], kNear);
    }
}

void expect_sighting(const vreid::Sighting& found, const Json& wanted) {
    EXPECT_EQ(found.first_frame, wanted.at("span")[0]);
    EXPECT_EQ(found.last_frame, wanted.at("span")[1]);
    EXPECT_NEAR(found.first_time, wanted.at("span")[2], 1e-9);
    EXPECT_NEAR(found.last_time, wanted.at("span")[3], 1e-9);
    EXPECT_NEAR(found.seen, wanted.at("seen"), 1e-6);
    EXPECT_EQ(found.kind, wanted.at("kind"));
    EXPECT_EQ(found.crops, wanted.at("crops"));
    EXPECT_NEAR(found.quality, wanted.at("quality"), kNear);
    EXPECT_EQ(found.picture.rows, wanted.at("picture")[0]);
    EXPECT_EQ(found.picture.cols, wanted.at("picture")[1]);
    ASSERT_EQ(found.feature.size(), kDim);
    for (std::size_t at = 0; at < kDim; ++at) EXPECT_NEAR(found.feature[at], wanted.at("feature")[at], kNear);
}

void expect_match(const vreid::Match& found, const Json& wanted) {
    EXPECT_EQ(found.vehicle ? Json(*found.vehicle) : Json(), wanted.at("vehicle"));
    EXPECT_EQ(found.name ? Json(*found.name) : Json(), wanted.at("name"));
    EXPECT_EQ(found.known, wanted.at("known"));
    if (wanted.at("score").is_null()) {
        EXPECT_EQ(found.score, -std::numeric_limits<double>::infinity());
    } else {
        EXPECT_NEAR(found.score, wanted.at("score"), kNear);
    }
}

TEST_F(Tracks, AreWhatPythonMakesOfThem) {
    const fs::path path = fs::path(VREID_ROOT) / "tests" / "data" / "tracks" / "tracks.json";
    const Json cases = Json::parse(vreid::read_bytes(path));
    for (const auto& [name, one] : cases.items()) {
        SCOPED_TRACE(name);
        TearDown();
        SetUp();
        const Json& given = one.at("given");
        const vreid::TrackRules rules = rules_of(given.at("rules"));
        vreid::Gallery gallery = with_known(given.at("known"), rules.enrol_unknown || *rules.learn);
        vreid::TrackIdentifier tracks("yard", gallery, rules);
        for (std::size_t at = 0; at < given.at("frames").size(); ++at) {
            SCOPED_TRACE(at);
            const Json& frame = given.at("frames")[at];
            const Json& wanted = one.at("results").at("frames")[at];
            const auto crops = tracks.see(picture_of(frame.at("contrast")), static_cast<std::int64_t>(at),
                                          frame.at("time"), boxes_of(frame.at("boxes")));
            expect_crops(crops, wanted.at("crops"));
            std::vector<float> features;
            for (const auto& crop : crops) {
                const auto row =
                    frame.at("features").at(std::to_string(crop.track)).get<std::vector<float>>();
                features.insert(features.end(), row.begin(), row.end());
            }
            tracks.add(crops, features);
            std::set<std::int64_t> ended;
            for (const Json& result : wanted.at("ended")) {
                const std::int64_t track = result.at("track");
                const auto sighting = tracks.sighting(track);
                ASSERT_TRUE(sighting);
                expect_sighting(*sighting, result);
                const bool is_part = result.at("part");
                const Json plate = is_part ? Json() : frame.at("ended").at(std::to_string(track));
                const auto text = plate.is_null() ? std::nullopt : std::optional(plate.get<std::string>());
                const auto so_far = tracks.match(track);
                const auto match = tracks.end(track, text, is_part);
                ASSERT_TRUE(match);
                expect_match(*match, result);
                if (!text && match->known) {
                    EXPECT_EQ(so_far->vehicle, match->vehicle);
                }
                ended.insert(track);
            }
            for (const auto& [track, plate] :
                 frame.at("ended").items()) {  // those of which no crop was embedded
                if (ended.count(std::stoll(track)) == 0) {
                    EXPECT_FALSE(tracks.end(std::stoll(track)));
                }
            }
        }
        const vreid::Stats stats = gallery.stats();
        EXPECT_EQ(Json({stats.vehicles, stats.prototypes, stats.sightings}), one.at("results").at("totals"));
        Json stored = Json::array();
        for (const auto& vehicle : gallery.vehicles(false))
            stored.push_back({vehicle.name, vehicle.prototypes, vehicle.sightings});
        EXPECT_EQ(stored, one.at("results").at("stored"));
        EXPECT_TRUE(tracks.open().empty());
    }
}

TEST_F(Tracks, WhatCannotBeIsRefusedAndChangesNothing) {
    vreid::Gallery gallery = opened();
    vreid::TrackRules rules;
    EXPECT_THROW(vreid::TrackIdentifier("yard", gallery, rules), Refused);  // no threshold was set
    rules.threshold = 1.5;
    EXPECT_THROW(vreid::TrackIdentifier("yard", gallery, rules), Refused);
    rules.threshold = 0.6;
    rules.new_below = 0.7;
    EXPECT_THROW(vreid::TrackIdentifier("yard", gallery, rules), Refused);
    rules.new_below.reset();
    rules.enrol_unknown = true;
    vreid::TrackIdentifier tracks("yard", gallery, rules);
    const std::vector<vreid::TrackedBox> boxes{{1, {40, 40, 120, 120}, 2}};
    EXPECT_THROW(tracks.see(cv::Mat(), 0, 0, boxes), Refused);
    EXPECT_THROW(tracks.see(cv::Mat(kFrame, CV_8UC1), 0, 0, boxes), Refused);
    EXPECT_THROW(tracks.see(picture_of(9), 0, std::nan(""), boxes), Refused);
    EXPECT_TRUE(tracks.open().empty());
    const auto crops = tracks.see(picture_of(50), 0, 0, boxes);
    ASSERT_EQ(crops.size(), 1U);
    EXPECT_FALSE(tracks.sighting(1) || tracks.match(1) || tracks.match(2) || tracks.end(1, {}, true));
    EXPECT_THROW(tracks.add(crops, std::vector<float>(kDim - 1, 1.0F)), Refused);
    EXPECT_THROW(tracks.add(crops, std::vector<float>(kDim, std::nanf(""))), Refused);
    EXPECT_FALSE(tracks.sighting(1));
    tracks.add(crops, std::vector<float>(kDim, 0.0F));  // of no length: it can be compared with nothing
    EXPECT_THROW(tracks.end(1), Refused);
    EXPECT_EQ(gallery.stats().vehicles, 0);
    tracks.add(crops, std::vector<float>(kDim, 0.5F));
    EXPECT_EQ(tracks.end(1)->vehicle, 1);
    tracks.add(crops, std::vector<float>(kDim, 0.5F));  // it has ended meanwhile
    EXPECT_TRUE(tracks.open().empty());
    gallery.close();
    vreid::Gallery reader = opened(false);
    EXPECT_THROW(vreid::TrackIdentifier("yard", reader, rules), Refused);
}

TEST_F(Tracks, TheNextPartOfOneWhoseVehicleWasRemovedIsLookedUp) {
    vreid::Gallery writer = opened();
    const std::vector<float> feature{1, 0, 0, 0, 0, 0, 0, 0};
    writer.add_prototype(writer.add_vehicle("taxi"), "gate", feature);
    writer.add_prototype(writer.add_vehicle("bus"), "gate", {0.8F, 0.6F, 0, 0, 0, 0, 0, 0});
    vreid::Gallery reader = opened(false);
    vreid::TrackRules rules;
    rules.threshold = 0.6;
    vreid::TrackIdentifier tracks("yard", reader, rules);
    const auto next_part = [&](std::int64_t index) {
        tracks.add(
            tracks.see(picture_of(50), index, static_cast<double>(index), {{1, {40, 40, 120, 120}, 2}}),
            feature);
        return tracks.end(1, {}, true);
    };
    EXPECT_EQ(next_part(0)->name, "taxi");
    writer.remove(1);
    EXPECT_EQ(next_part(1)->name, "bus");
    writer.remove(2);
    EXPECT_FALSE(next_part(2)->vehicle);
}

TEST_F(Tracks, AreComparedWithoutTheCamerasBiasOnRequest) {
    {
        vreid::Gallery writer = opened();
        writer.add_prototype(writer.add_vehicle("taxi"), "yard", {0, 0.6F, 0.8F, 0, 0, 0, 0, 0});
    }
    keep_bias();
    vreid::Gallery gallery = opened(false);
    const double offset = 0.5 * 1000 / 1010;  // of each camera along both axes
    const double left = 0.6 - offset;
    const double expected = (2 * left * offset + 0.64) / (left * left + offset * offset + 0.64);
    for (const bool without : {false, true}) {
        vreid::TrackRules rules;
        rules.threshold = 0.7;
        rules.without_camera_bias = without;
        vreid::TrackIdentifier tracks("gate", gallery, rules);
        tracks.add(tracks.see(picture_of(50), 0, 0, {{1, {40, 40, 120, 120}, 2}}),
                   {0.6F, 0, 0.8F, 0, 0, 0, 0, 0});
        const auto match = tracks.end(1);
        ASSERT_TRUE(match);
        EXPECT_NEAR(match->score, without ? expected : 0.64, 1e-5);
        EXPECT_EQ(match->known, without);
    }
}

TEST_F(Tracks, OneQueryGivesOneList) {
    vreid::Gallery gallery = opened();
    const std::vector<float> feature{1, 0, 0, 0, 0, 0, 0, 0};
    EXPECT_TRUE(gallery.search_one(feature, 3).empty());
    gallery.add_prototype(gallery.add_vehicle("taxi"), "gate", feature);
    const auto hits = gallery.search_one(feature, 3);
    ASSERT_EQ(hits.size(), 1U);
    EXPECT_EQ(hits[0].name, "taxi");
    EXPECT_TRUE(gallery.search_one(feature, 3, {{7}}).empty());
    EXPECT_THROW(static_cast<void>(gallery.search_one({}, 3)), Refused);
    EXPECT_THROW(static_cast<void>(gallery.search_one(std::vector<float>(2 * kDim, 1.0F), 3)), Refused);
}

}  // namespace

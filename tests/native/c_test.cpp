// The C interface: its sizes, its refusals, and that what is written through it is found through it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "vreid/engine.hpp"
#include "vreid/vreid.h"

namespace {

namespace fs = std::filesystem;

// What a program that was compiled earlier relies on: VREID_ABI_VERSION grows when one of these has to
// change.
static_assert(VREID_ABI_VERSION == 1);
static_assert(sizeof(vreid_picture) == 24 && offsetof(vreid_picture, stride) == 16);
static_assert(sizeof(vreid_hit) == 16 && offsetof(vreid_hit, score) == 8);
static_assert(sizeof(vreid_counts) == 32);
static_assert(sizeof(vreid_sighting) == 112 && offsetof(vreid_sighting, feature) == 72);
static_assert(sizeof(vreid_tracked_box) == 32 && offsetof(vreid_tracked_box, kind) == 24);
static_assert(sizeof(vreid_track_rules) == 48 && offsetof(vreid_track_rules, run) == 40);
static_assert(sizeof(vreid_match) == 24 && offsetof(vreid_match, known) == 16);
static_assert(VREID_OK == 0 && VREID_REFUSED == 2 && VREID_FAILED == 3);

constexpr int kDim = 4;

class CTest : public testing::Test {
 protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("vreid-c-" + std::to_string(::getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        path_ = (folder_ / "g.db").string();
        ASSERT_EQ(vreid_gallery_open_for(path_.c_str(), "aaaaaaaa", kDim, "small", 1, &gallery_), VREID_OK)
            << vreid_last_error();
    }
    void TearDown() override {
        vreid_gallery_close(gallery_);
        fs::remove_all(folder_);
    }

    std::int64_t enrolled(const char* name, const std::vector<float>& features) {
        std::int64_t vehicle = 0;
        const auto count = static_cast<std::uint32_t>(features.size() / kDim);
        EXPECT_EQ(
            vreid_gallery_enrol(gallery_, name, "gate", features.data(), count, kDim, nullptr, &vehicle),
            VREID_OK)
            << vreid_gallery_error(gallery_);
        return vehicle;
    }

    vreid_counts counts() {
        vreid_counts found{};
        EXPECT_EQ(vreid_gallery_count(gallery_, &found), VREID_OK);
        return found;
    }

    fs::path folder_;
    std::string path_;
    vreid_gallery* gallery_ = nullptr;
};

TEST_F(CTest, FindsWhatItHasEnrolled) {
    EXPECT_EQ(vreid_abi_version(), VREID_ABI_VERSION);
    EXPECT_EQ(vreid_gallery_dim(gallery_), kDim);
    const std::int64_t one = enrolled("taxi", {1, 0, 0, 0, 0, 1, 0, 0}),
                       two = enrolled(nullptr, {0, 0, 2, 0});
    EXPECT_EQ(counts().vehicles, 2);
    EXPECT_EQ(counts().prototypes, 3);
    const std::vector<float> queries{0, 1, 0.1F, 0, 0, 0, 1, 0};
    std::array<vreid_hit, 6> hits{};
    std::array<std::uint32_t, 2> found{};
    ASSERT_EQ(vreid_gallery_search(gallery_, queries.data(), 2, kDim, 3, hits.data(), found.data()),
              VREID_OK);
    EXPECT_EQ(found, (std::array<std::uint32_t, 2>{2, 2}));
    EXPECT_EQ(hits[0].vehicle, one);
    EXPECT_NEAR(hits[0].score, 0.995F, 1e-3F);
    EXPECT_EQ(hits[3].vehicle, two);
    std::array<char, 4> name{};
    std::uint64_t length = 0;
    EXPECT_EQ(vreid_gallery_name(gallery_, two, name.data(), name.size(), &length), VREID_OK);
    EXPECT_STREQ(name.data(), "veh");
    EXPECT_EQ(length, std::string("vehicle-0002").size());
    std::int64_t vehicle = 0;
    EXPECT_EQ(vreid_gallery_find(gallery_, "taxi", &vehicle), VREID_OK);
    EXPECT_EQ(vehicle, one);
    std::uint64_t count = 0;
    EXPECT_EQ(vreid_gallery_vehicles(gallery_, &vehicle, 1, &count), VREID_OK);
    EXPECT_EQ(count, 2U);
    EXPECT_EQ(vreid_gallery_rename(gallery_, two, "bus"), VREID_OK);
    EXPECT_EQ(vreid_gallery_remove(gallery_, one), VREID_OK);
    EXPECT_EQ(counts().vehicles, 1);
}

TEST_F(CTest, WritesSightingsWithPictures) {
    const std::int64_t vehicle = enrolled("taxi", {1, 0, 0, 0});
    const std::vector<std::uint8_t> pixels(20 * 100, 80);
    const vreid_picture picture{pixels.data(), 30, 20, 100};
    const std::vector<float> feature{1, 0, 0, 0};
    vreid_sighting seen{};
    seen.camera = "gate";
    seen.track = 3;
    seen.kind = 2;
    seen.dim = kDim;
    seen.feature = feature.data();
    seen.picture = &picture;
    seen.plate = "B 1";
    std::int64_t id = 0;
    ASSERT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_OK)
        << vreid_gallery_error(gallery_);
    EXPECT_EQ(id, 1);
    EXPECT_EQ(counts().sightings, 1);
    const vreid_picture narrow{pixels.data(), 30, 20, 89};  // a row would reach into the next one's pixels
    seen.picture = &narrow;
    EXPECT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_REFUSED);
    seen.picture = &picture;
    for (const char* wrong : {"\xFF", "ga\xC3", "ga\nte", "\x1B[2J"}) {  // two of them would become one "?"
        seen.camera = wrong;
        EXPECT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_REFUSED);
        EXPECT_STREQ(
            vreid_gallery_error(gallery_),
            "a sighting's camera has control characters or is not valid UTF-8; write letters, digits and "
            "blanks");
        EXPECT_EQ(vreid_gallery_add_prototype(gallery_, vehicle, wrong, feature.data(), kDim, 0.5, nullptr),
                  VREID_REFUSED);
    }
    seen.camera = "gate";
    for (const double wrong :
         {std::nan(""), HUGE_VAL, -HUGE_VAL}) {  // an export with it could not be read again
        seen.quality = wrong;
        EXPECT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_REFUSED);
    }
    EXPECT_EQ(std::string(vreid_gallery_error(gallery_)).rfind("a sighting's score must be a number", 0), 0U);
    seen.quality = 0;
    seen.score = std::nan("");
    EXPECT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_REFUSED);
    seen.score = -HUGE_VAL;  // there was nobody to compare with
    EXPECT_EQ(vreid_gallery_add_sighting(gallery_, vehicle, &seen, &id), VREID_OK);
    EXPECT_EQ(counts().sightings, 2);
    std::int64_t prototype = 0;
    EXPECT_EQ(vreid_gallery_add_prototype(gallery_, vehicle, "gate", feature.data(), kDim, 0.5, &prototype),
              VREID_OK);
    EXPECT_EQ(prototype, 1);  // averaged into the first
}

TEST_F(CTest, KeepsATransactionWholeOrNotAtAll) {
    const auto two_and_fail = [](vreid_gallery* gallery, void* context) -> vreid_status {
        vreid_gallery_enrol(gallery, "one", "gate", nullptr, 0, kDim, nullptr, nullptr);
        vreid_gallery_enrol(gallery, "two", "gate", nullptr, 0, kDim, nullptr, nullptr);
        return *static_cast<vreid_status*>(context);
    };
    vreid_status status = 17;
    EXPECT_EQ(vreid_gallery_transaction(gallery_, two_and_fail, &status), 17);
    EXPECT_EQ(counts().vehicles, 0);
    status = VREID_OK;
    EXPECT_EQ(vreid_gallery_transaction(gallery_, two_and_fail, &status), VREID_OK);
    EXPECT_EQ(counts().vehicles, 2);
    EXPECT_EQ(vreid_gallery_transaction(gallery_, nullptr, nullptr), VREID_REFUSED);
}

TEST_F(CTest, RefusesWithASentenceAndNeverThrows) {
    EXPECT_EQ(vreid_gallery_rename(gallery_, 7, "x"), VREID_REFUSED);
    EXPECT_STREQ(vreid_gallery_error(gallery_),
                 "there is no vehicle 7 in the gallery; the list of vehicles has all");
    EXPECT_STREQ(vreid_last_error(), vreid_gallery_error(gallery_));
    std::thread([] { EXPECT_STREQ(vreid_last_error(), ""); }).join();
    const std::vector<float> feature{1, 0, 0, 0, 0};
    vreid_hit hit{};
    std::uint32_t found = 9;
    EXPECT_EQ(vreid_gallery_search(gallery_, feature.data(), 1, 5, 1, &hit, &found), VREID_REFUSED);
    EXPECT_NE(std::string(vreid_gallery_error(gallery_)).find("(1, 5) do not fit"), std::string::npos);
    EXPECT_EQ(vreid_gallery_search(gallery_, feature.data(), 1, kDim, 0, &hit, &found), VREID_REFUSED);
    EXPECT_EQ(vreid_gallery_search(gallery_, nullptr, 1, kDim, 1, &hit, &found), VREID_REFUSED);
    EXPECT_EQ(vreid_gallery_search(gallery_, feature.data(), 1, kDim, 1, nullptr, &found), VREID_REFUSED);
    EXPECT_EQ(found, 9U);
    EXPECT_EQ(vreid_gallery_search(nullptr, feature.data(), 1, kDim, 1, &hit, &found), VREID_REFUSED);
    EXPECT_STREQ(vreid_gallery_error(nullptr), "gallery is NULL; pass one");
    EXPECT_EQ(vreid_gallery_enrol(gallery_, "a", nullptr, feature.data(), 1, kDim, nullptr, nullptr),
              VREID_REFUSED);
    EXPECT_EQ(vreid_gallery_enrol(gallery_, "\xFF", "gate", feature.data(), 1, kDim, nullptr, nullptr),
              VREID_REFUSED);
    EXPECT_EQ(counts().vehicles, 0);
    vreid_gallery* other = nullptr;
    EXPECT_EQ(vreid_gallery_open_for(path_.c_str(), "bbbbbbbb", kDim, "large", 0, &other), VREID_REFUSED);
    EXPECT_EQ(vreid_gallery_open_for(path_.c_str(), "aaaaaaaa", kDim, "small", 1, &other),
              VREID_REFUSED);  // a 2nd writer
    EXPECT_EQ(vreid_gallery_open_for(path_.c_str(), "aaaaaaaa", kDim, "small", 0, nullptr), VREID_REFUSED);
    EXPECT_EQ(vreid_gallery_open(path_.c_str(), nullptr, 0, &other), VREID_REFUSED);
    EXPECT_EQ(other, nullptr);
    vreid_embedder* model = nullptr;
    EXPECT_EQ(vreid_embedder_open("/nowhere/model.json", 1, nullptr, &model), VREID_REFUSED);
    EXPECT_NE(std::string(vreid_embedder_error(nullptr)).find("/nowhere/model.json"), std::string::npos);
    EXPECT_EQ(vreid_embedder_open(nullptr, 1, nullptr, &model), VREID_REFUSED);
    EXPECT_EQ(model, nullptr);
    EXPECT_EQ(vreid_embedder_dim(nullptr), 0);
    vreid_embedder_close(nullptr);
    vreid_gallery_close(nullptr);
}

/// Two tracks at the same time in red and green, through the model of mean colours.
TEST_F(CTest, TracksBecomeVehicles) {
    std::vector<std::string> engines = vreid::engine_names();
    if (engines.empty() || engines.front() == "tensorrt") GTEST_SKIP() << "no engine for ONNX files";
    const fs::path manifest = fs::path(VREID_ROOT) / "tests" / "data" / "colour" / "colour.json";
    vreid_embedder* model = nullptr;
    vreid_gallery* gallery = nullptr;
    vreid_tracks* tracks = nullptr;
    ASSERT_EQ(vreid_embedder_open(manifest.c_str(), 1, engines.front().c_str(), &model), VREID_OK)
        << vreid_last_error();
    const std::string path = (folder_ / "colour.db").string();
    ASSERT_EQ(vreid_gallery_open(path.c_str(), model, 1, &gallery), VREID_OK) << vreid_last_error();
    vreid_track_rules rules{};
    vreid_track_rules_init(&rules, 0.9);
    rules.enrol_unknown = rules.learn = 1;
    rules.run = "live";
    EXPECT_EQ(vreid_tracks_open("gate", model, gallery_, &rules, &tracks),
              VREID_REFUSED);  // of another model
    EXPECT_STREQ(vreid_last_error(),
                 "the gallery is of small and the model is colour; give both the same model");
    EXPECT_EQ(vreid_tracks_open(nullptr, model, gallery, &rules, &tracks), VREID_REFUSED);
    EXPECT_EQ(vreid_tracks_open("gate", model, gallery, nullptr, &tracks), VREID_REFUSED);
    ASSERT_EQ(tracks, nullptr);
    ASSERT_EQ(vreid_tracks_open("gate", model, gallery, &rules, &tracks), VREID_OK) << vreid_last_error();
    std::vector<std::uint8_t> pixels(std::size_t{3} * 200 * 100);
    for (std::size_t at = 0; at < pixels.size(); ++at) {
        const bool is_left = at / 3 % 200 < 100;
        pixels[at] = at % 3 == (is_left ? 2U : 1U) ? 200 : 0;
    }
    const vreid_picture frame{pixels.data(), 200, 100, 600};  // red on the left, green on the right
    const std::array<vreid_tracked_box, 3> boxes{
        {{1, 10, 10, 90, 90, 2, 0}, {2, 110, 10, 190, 90, 2, 0}, {3, std::nanf(""), 0, 9, 9, 2, 0}}};
    std::uint32_t embedded = 9;
    EXPECT_EQ(vreid_tracks_see(tracks, &frame, 0, 0.0, boxes.data(), 3, &embedded), VREID_OK)
        << vreid_tracks_error(tracks);
    EXPECT_EQ(embedded, 2U);
    EXPECT_EQ(vreid_tracks_see(tracks, nullptr, 1, 0.1, boxes.data(), 3, &embedded), VREID_REFUSED);
    EXPECT_EQ(vreid_tracks_see(tracks, &frame, 1, 0.1, nullptr, 3, &embedded), VREID_REFUSED);
    EXPECT_EQ(embedded, 2U);
    std::array<float, 3> feature{};
    EXPECT_EQ(vreid_tracks_feature(tracks, 1, feature.data(), 3), VREID_OK);
    EXPECT_NEAR(feature[2], 1, 1e-3);
    EXPECT_EQ(vreid_tracks_feature(tracks, 1, feature.data(), 4), VREID_REFUSED);
    EXPECT_EQ(vreid_tracks_feature(tracks, 3, feature.data(), 3), VREID_REFUSED);
    vreid_match match{};
    EXPECT_EQ(vreid_tracks_match(tracks, 1, &match), VREID_OK);
    EXPECT_EQ(match.vehicle, 0);
    EXPECT_EQ(match.score, -HUGE_VAL);
    EXPECT_EQ(match.embedded, 1);
    EXPECT_EQ(vreid_tracks_end(tracks, 1, nullptr, 1, &match), VREID_OK);
    EXPECT_EQ(match.vehicle, 1);
    EXPECT_EQ(match.known, 0);
    EXPECT_EQ(vreid_tracks_end(tracks, 2, "B 2", 0, &match), VREID_OK);
    EXPECT_EQ(match.vehicle, 2);
    EXPECT_EQ(vreid_tracks_end(tracks, 3, nullptr, 0, &match), VREID_OK);
    EXPECT_EQ(match.embedded, 0);
    EXPECT_EQ(vreid_tracks_see(tracks, &frame, 2, 0.5, boxes.data(), 1, nullptr), VREID_OK);
    EXPECT_EQ(vreid_tracks_match(tracks, 1, &match), VREID_OK);
    EXPECT_EQ(match.vehicle, 1);
    EXPECT_EQ(match.known, 1);
    EXPECT_EQ(vreid_tracks_end(tracks, 1, nullptr, 0, nullptr), VREID_OK);
    vreid_counts found{};
    EXPECT_EQ(vreid_gallery_count(gallery, &found), VREID_OK);
    EXPECT_EQ(found.vehicles, 2);
    EXPECT_EQ(found.sightings, 3);
    EXPECT_EQ(vreid_tracks_match(nullptr, 1, &match), VREID_REFUSED);
    EXPECT_STREQ(vreid_tracks_error(nullptr), "tracks is NULL; pass one");
    vreid_tracks_close(nullptr);
    vreid_tracks_close(tracks);
    vreid_gallery_close(gallery);
    vreid_embedder_close(model);
}

}  // namespace

// The gallery in C++ only: its rules against slow versions of them, transactions, threads, two handles of
// one file.
#include "vreid/gallery.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <thread>

#include "core/fields.hpp"
#include "gallery/flat.hpp"
#include "gallery/prototypes.hpp"
#include "gallery/text.hpp"
#include "vreid/errors.hpp"

namespace {

namespace fs = std::filesystem;
using vreid::Gallery;
using vreid::Refused;
using Ids = std::vector<std::int64_t>;

constexpr int kDim = 12;
const vreid::About kOurs{"aaaaaaaa", kDim, "small"};

std::vector<float> feature(std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> row(kDim);
    for (float& number : row) number = normal(random);
    return vreid::unit(row, kDim);
}

float cosine(const std::vector<float>& one, const std::vector<float>& other) {
    return std::inner_product(one.begin(), one.end(), other.begin(), 0.0F);
}

class GalleryTest : public testing::Test {
 protected:
    void SetUp() override {
        const auto* info = testing::UnitTest::GetInstance()->current_test_info();
        folder_ = fs::temp_directory_path() /
                  ("vreid-" + std::string(info->name()) + "-" + std::to_string(::getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    [[nodiscard]] fs::path path() const { return folder_ / "g.db"; }
    [[nodiscard]] Gallery opened(bool write = true) const {
        return vreid::open_gallery(path(), kOurs, write);
    }

    fs::path folder_;
};

TEST(Flat, FindsWhatComparingEverythingFinds) {
    struct Row {
        std::int64_t vehicle;
        std::vector<float> feature;
    };
    std::mt19937 random(7);
    vreid::gallery::FlatIndex index(kDim, 10);
    std::map<std::int64_t, Row> rows;
    for (int round = 0; round < 60; ++round) {
        Ids ids, vehicles, gone;
        std::vector<float> features;
        std::set<std::int64_t> chosen;
        while (chosen.size() < 7) chosen.insert(std::uniform_int_distribution<std::int64_t>(1, 150)(random));
        for (const std::int64_t id : chosen) {
            if (random() % 3 == 0) {
                gone.push_back(id);
                rows.erase(id);
                continue;
            }
            const Row row{static_cast<std::int64_t>(random() % 25), feature(random)};
            ids.push_back(id);
            vehicles.push_back(row.vehicle);
            features.insert(features.end(), row.feature.begin(), row.feature.end());
            rows[id] = row;
        }
        index.remove(gone);
        index.add(ids, vehicles, features);

        const std::vector<float> query = feature(random);
        for (const bool some : {false, true}) {
            const Ids among{3, 4, 5, 17, 99};
            std::map<std::int64_t, float> best;
            for (const auto& [id, row] : rows) {
                if (some && std::find(among.begin(), among.end(), row.vehicle) == among.end()) continue;
                const auto place = best.try_emplace(row.vehicle, -2.0F).first;
                place->second = std::max(place->second, cosine(query, row.feature));
            }
            std::vector<std::pair<std::int64_t, float>> expected(best.begin(), best.end());
            std::sort(expected.begin(), expected.end(),
                      [](const auto& one, const auto& other) { return one.second > other.second; });
            for (const std::int64_t k : {std::int64_t{1}, std::int64_t{4}, std::int64_t{1} << 40}) {
                const auto found =
                    index.search(query, k, some ? std::optional<Ids>(among) : std::nullopt).front();
                ASSERT_EQ(found.size(), std::min<std::size_t>(expected.size(), static_cast<std::size_t>(k)));
                for (std::size_t at = 0; at < found.size(); ++at) {
                    EXPECT_EQ(found[at].first, expected[at].first);
                    EXPECT_NEAR(found[at].second, expected[at].second, 1e-6);
                }
            }
        }
    }
}

TEST(Prototypes, AreAveragedByQualityAndStayUnit) {
    std::mt19937 random(1);
    const vreid::Prototype kept{1, "gate", feature(random), 0.5, 3};
    const std::vector<float> other = feature(random);
    const auto mean = vreid::gallery::merged(kept, other, 1.5);
    ASSERT_TRUE(mean.has_value());
    EXPECT_EQ(mean->count, 4);
    EXPECT_DOUBLE_EQ(mean->weight, 2.0);
    std::vector<double> slow(kDim);
    for (std::size_t at = 0; at < slow.size(); ++at) {
        slow[at] = 0.5 * static_cast<double>(kept.feature[at]) + 1.5 * static_cast<double>(other[at]);
    }
    const double length = std::sqrt(std::inner_product(slow.begin(), slow.end(), slow.begin(), 0.0));
    for (std::size_t at = 0; at < slow.size(); ++at) {
        EXPECT_NEAR(static_cast<double>(mean->feature[at]), slow[at] / length, 1e-6);
    }
    std::vector<float> opposite = kept.feature;
    for (float& number : opposite) number = -number;
    EXPECT_FALSE(vreid::gallery::merged(kept, opposite, 0.5).has_value());  // they cancel out
}

TEST(Text, IsReadStrictly) {
    for (const char* good : {"", "taxi", "\xC3\xBC", "\xE8\xBB\x8A", "\xF0\x9F\x9A\x97", "\xED\x9F\xBF"}) {
        EXPECT_TRUE(vreid::gallery::is_text(good)) << good;
        EXPECT_EQ(vreid::gallery::cleaned(good), good);
    }
    for (const char* bad :
         {"\xC3", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE8\xBB", "\xFF", "\x80"}) {
        EXPECT_FALSE(vreid::gallery::is_text(bad)) << bad;
        EXPECT_EQ(vreid::gallery::cleaned(bad), std::string(std::char_traits<char>::length(bad), '?'));
    }
    EXPECT_EQ(vreid::length_of("\xE8\xBB\x8A\xC3\xBCx"), 3U);
}

TEST_F(GalleryTest, OfAFailedTransactionNothingIsLeftNorFound) {
    std::mt19937 random(2);
    const std::vector<float> first = feature(random), second = feature(random);
    Gallery gallery = opened();
    gallery.add_prototype(gallery.add_vehicle("kept"), "gate", first);
    EXPECT_EQ(gallery.search(second, 5).front().size(), 1U);
    EXPECT_THROW(gallery.transaction([&] {
        gallery.remove(1);
        gallery.add_prototype(gallery.add_vehicle("new"), "gate", second);
        EXPECT_EQ(gallery.search(second, 5).front().front().name, "new");
        EXPECT_EQ(gallery.search(second, 5).front().size(), 1U);
        gallery.add_vehicle("new");
    }),
                 Refused);
    const auto hits = gallery.search(second, 5).front();
    ASSERT_EQ(hits.size(), 1U);
    EXPECT_EQ(hits[0].name, "kept");
    gallery.transaction([&] {  // a refused call inside leaves the rest alone
        gallery.add_vehicle("second");
        EXPECT_THROW(gallery.add_vehicle("second"), Refused);
    });
    EXPECT_EQ(gallery.find("second"), 2);
    EXPECT_EQ(gallery.stats().vehicles, 2);
}

TEST_F(GalleryTest, AFeatureThatDoesNotFitIsRefused) {
    Gallery gallery = opened();
    const std::int64_t vehicle = gallery.add_vehicle();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_THROW(gallery.add_prototype(vehicle, "gate", std::vector<float>(kDim - 1, 1.0F)), Refused);
    EXPECT_THROW(gallery.add_prototype(vehicle, "gate", std::vector<float>(2 * kDim, 1.0F)), Refused);
    EXPECT_THROW(gallery.add_prototype(vehicle, "gate", std::vector<float>(kDim, nan)), Refused);
    EXPECT_THROW(gallery.add_prototype(vehicle, "gate", std::vector<float>(kDim, 1.0F), std::nan("")),
                 Refused);
    vreid::Sighting seen;
    seen.camera = "gate";
    seen.feature.assign(kDim - 1, 1.0F);
    EXPECT_THROW(gallery.add_sighting(vehicle, seen, 0.5), Refused);
    seen.feature.assign(kDim, 7.0F);  // of any length, as long as it is kept at unit length
    gallery.add_sighting(vehicle, seen, 0.5);
    EXPECT_EQ(gallery.stats().sightings, 1);
    EXPECT_TRUE(gallery.search({}, 3).empty());
}

TEST_F(GalleryTest, AReaderFollowsAWriterOfItsOwnProcess) {
    std::mt19937 random(3);
    Gallery writer = opened();
    EXPECT_THROW(opened(), Refused);
    const Gallery reader = vreid::read_gallery(path());
    EXPECT_FALSE(reader.writable());
    for (int round = 0; round < 30; ++round) {
        const std::vector<float> row = feature(random);
        const std::int64_t vehicle = writer.add_vehicle();
        writer.add_prototype(vehicle, "gate", row);
        EXPECT_EQ(reader.search(row, 1).front().front().vehicle, vehicle);
        if (round % 3 == 0) {
            writer.remove(vehicle);
            const auto hits = reader.search(row, 100).front();
            EXPECT_TRUE(std::none_of(hits.begin(), hits.end(),
                                     [&](const auto& hit) { return hit.vehicle == vehicle; }));
        }
    }
    Gallery moved = std::move(writer);
    moved.close();
    moved.close();
    EXPECT_THROW(static_cast<void>(moved.stats()), Refused);
    EXPECT_NO_THROW(opened());
}

TEST_F(GalleryTest, ManyThreadsMayCallIt) {
    Gallery gallery = opened();
    std::atomic<int> found{0};
    std::vector<std::thread> threads;
    for (unsigned number = 0; number < 4; ++number) {
        threads.emplace_back([&, number] {
            std::mt19937 random(number);
            for (int round = 0; round < 10; ++round) {
                const std::vector<float> row = feature(random);
                gallery.transaction([&] {
                    const std::int64_t vehicle = gallery.add_vehicle();
                    gallery.add_prototype(vehicle, "gate", row);
                    found += gallery.search(row, 1).front().front().vehicle == vehicle ? 1 : 0;
                });
                found += static_cast<int>(gallery.vehicles(false).size() > 0);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(found, 80);
    EXPECT_EQ(gallery.stats().vehicles, 40);
}

}  // namespace

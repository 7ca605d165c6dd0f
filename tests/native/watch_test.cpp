// The texts of a run and its clusters: the same as Python's, sign by sign.
#include <gtest/gtest.h>

#include <cmath>

#include "golden.hpp"
#include "vreid/errors.hpp"
#include "watch/address.hpp"
#include "watch/clusters.hpp"
#include "watch/mot.hpp"
#include "watch/numbers.hpp"
#include "watch/sightings.hpp"

using namespace vreid;
using namespace vreid::watch;

TEST(Watch, NumbersAreReadWhateverTheirSign) {
    EXPECT_EQ(number_of(" +1.5e2 "), 150.0);
    EXPECT_EQ(number_of("-0.25"), -0.25);
    for (const char* wrong : {"", "1,5", "+-1", "0x10", "1 2", "one"})
        EXPECT_FALSE(number_of(wrong)) << wrong;
}

TEST(Watch, GoldenNumbersAreWrittenAlike) {
    READ_GOLDEN(says, "numbers");
    for (const auto& one : says) ASSERT_EQ(rounded(one[0], one[1]), one[2].get<std::string>()) << one.dump();
    EXPECT_GT(says.size(), 1000U);
}

TEST(Watch, GoldenLinesAreWrittenAlike) {
    READ_GOLDEN(says, "lines");
    for (const auto& one : says) {
        const auto& from = one["sighting"];
        Sighting sighting;
        sighting.camera = from["camera"];
        sighting.track = from["track"];
        sighting.first_frame = from["first_frame"];
        sighting.last_frame = from["last_frame"];
        sighting.first_time = from["first_time"];
        sighting.last_time = from["last_time"];
        sighting.kind = from["kind"];
        sighting.crops = from["crops"];
        sighting.quality = from["quality"];
        sighting.seen = from["seen"];
        if (!from["plate"].is_null()) sighting.plate = from["plate"];
        Match match;
        if (!one["vehicle"].is_null()) match.vehicle = one["vehicle"];
        if (!one["name"].is_null()) match.name = one["name"];
        match.score = golden::number(one["score"]);
        match.known = one["known"];
        const auto box = one["box"].get<std::vector<float>>();
        ASSERT_EQ(line_of(sighting, match, {box[0], box[1], box[2], box[3]}), one["line"].get<std::string>());
    }
}

TEST(Watch, GoldenAddressesMeanTheSame) {
    READ_GOLDEN(says, "addresses");
    static constexpr std::array kinds{"file", "folder", "pattern", "picture", "device", "rtsp", "csi", "gst"};
    for (const auto& one : says) {
        const std::string text = one["text"];
        if (one["kind"].is_null()) {
            EXPECT_THROW(address_of(text), Refused) << text;
            continue;
        }
        const Address found = address_of(text);
        EXPECT_EQ(kinds.at(static_cast<std::size_t>(found.kind)), one["kind"].get<std::string>()) << text;
        EXPECT_EQ(found.camera, one["camera"].get<std::string>()) << text;
    }
    EXPECT_THROW(address_of("synth://city"), Refused);
    EXPECT_EQ(without_password("rtsp://me:pass@word/#@gate:8554/a"), "rtsp://***@gate:8554/a");
}

TEST(Watch, GoldenMotTextIsReadAlike) {
    READ_GOLDEN(says, "mot");
    for (const auto& one : says) {
        const auto path = golden::folder() / one["file"].get<std::string>();
        if (one["rows"].is_null()) {
            try {
                read_mot(path);
                ADD_FAILURE() << path << " was read";
            } catch (const Refused& refused) {
                const std::string said = refused.what();
                EXPECT_EQ(said.substr(said.find(", line")), one["refused"].get<std::string>());
            }
            continue;
        }
        const auto rows = read_mot(path);
        ASSERT_EQ(rows.size(), one["rows"].size()) << path;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const MotRow& row = rows[i];
            const std::vector<double> ours{static_cast<double>(row.frame),
                                           static_cast<double>(row.id),
                                           row.x,
                                           row.y,
                                           row.w,
                                           row.h,
                                           row.score,
                                           row.kind * 1.0,
                                           row.visibility};
            EXPECT_EQ(ours, one["rows"][i].get<std::vector<double>>()) << path << " row " << i;
        }
    }
}

TEST(Watch, GoldenClustersAreEqual) {
    READ_GOLDEN(says, "clusters");
    for (const auto& one : says) {
        Square<char> apart(one["count"]);
        for (const auto& pair : one["apart"]) {
            apart.at(pair[0], pair[1]) = apart.at(pair[1], pair[0]) = 1;
        }
        const auto found = clustered(one["features"], one["dim"], apart, one["threshold"]);
        ASSERT_EQ(found, one["clusters"].get<std::vector<Rows>>());
    }
}

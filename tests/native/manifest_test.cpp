// The manifest is accepted and refused in the same cases as by Python: both read tests/data/manifests.
#include "vreid/manifest.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/files.hpp"
#include "vreid/errors.hpp"

namespace {

namespace fs = std::filesystem;

const fs::path GOLDEN = fs::path(VREID_ROOT) / "tests" / "data" / "manifests";

/// What the reader says of a file; "" where it is accepted.
std::string refusal_of(const fs::path& path) {
    try {
        vreid::read_manifest(path);
        return "";
    } catch (const vreid::Refused& refused) {
        return refused.what();
    }
}

TEST(Manifest, IsAcceptedAndRefusedAsByPython) {
    const auto index = nlohmann::json::parse(std::ifstream(GOLDEN / "index.json"));
    ASSERT_GT(index.size(), 100U);
    for (const auto& one : index) {
        const auto file = one["file"].get<std::string>();
        const std::string refusal = refusal_of(GOLDEN / file);
        if (one["refused"].is_null()) {
            EXPECT_EQ(refusal, "") << file;
        } else {
            EXPECT_NE(refusal, "") << file << " was accepted";
            EXPECT_NE(refusal.find(one["refused"].get<std::string>()), std::string::npos)
                << file << ": " << refusal;
        }
    }
}

TEST(Manifest, HasTheFieldsOfTheFile) {
    const auto found = vreid::read_manifest(GOLDEN / "full.json");
    EXPECT_EQ(found.name, "student");
    EXPECT_EQ(found.backend, "tensorrt");
    EXPECT_EQ(found.precision, "int8");
    EXPECT_EQ(found.input.height, 128);
    EXPECT_EQ(found.input.batch, (std::array<int, 3>{1, 8, 32}));
    EXPECT_EQ(found.output.dim, 128);
    EXPECT_EQ(found.cost.macs, 175144960);
    ASSERT_TRUE(found.match);
    EXPECT_DOUBLE_EQ(found.match->threshold, 0.9247);
    ASSERT_TRUE(found.calibration);
    EXPECT_EQ(found.calibration->kept_float, std::vector<std::string>{"/head/Gemm"});
    ASSERT_TRUE(found.built_for);
    EXPECT_EQ(found.built_for->at("tensorrt"), "10.3.0");
    EXPECT_EQ(found.fingerprint, "1ff86401d7a66eeb");
    const auto least = vreid::read_manifest(GOLDEN / "least_fields.json");
    EXPECT_EQ(least.input.name, "images");
    EXPECT_EQ(least.output.name, "embedding");
    EXPECT_FALSE(least.accuracy || least.match || least.calibration || least.built_for || least.made_from);
}

TEST(Manifest, ThatIsNotThereSaysTheFix) {
    EXPECT_NE(refusal_of(GOLDEN / "absent.json").find("vreid export"), std::string::npos);
    EXPECT_NE(refusal_of(GOLDEN).find("there is no manifest"), std::string::npos);
}

TEST(Manifest, ThatIsDeepIsRefusedAndNoStackOverflows) {
    const std::string deep(1'000'000, '[');
    EXPECT_THROW(vreid::manifest_from(deep, "deep.json"), vreid::Refused);
    EXPECT_THROW(vreid::manifest_from(deep + std::string(1'000'000, ']'), "deep.json"), vreid::Refused);
}

std::string said_of(const std::string& text) {
    try {
        vreid::manifest_from(text, "a.json");
        return "";
    } catch (const vreid::Refused& refused) {
        return refused.what();
    }
}

TEST(Manifest, AttacksAreRefusedInOneShortLine) {
    const auto brackets = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
    for (const int depth : {101, 150, 980, 100'000}) {
        EXPECT_NE(said_of("{\"schema\": 1, \"name\": " + brackets(depth) + "}").find("nested too deeply"),
                  std::string::npos);
    }
    EXPECT_NE(said_of("{\"schema\": 1, \"schema\": 1}").find("(the key 'schema' is there twice)"),
              std::string::npos);
    EXPECT_NE(said_of("{\"schema\": 1, \"input\": {\"a\": 1, \"\\u0061\": 2}}")
                  .find("(the key 'a' is there twice)"),
              std::string::npos);
    const std::string nines(10'000, '9');
    for (const auto& text :
         {"{\"schema\": \"" + nines + "\"}", "{\"schema\": " + brackets(90) + "}",
          "{\"schema\": 1, \"" + nines + "\": 1}", std::string("{\"schema\": 1, \"a\\nb\\u001b[31m\": 1}"),
          "{\"" + nines + "\": 1, \"" + nines + "\": 1}"}) {
        const std::string said = said_of(text);
        EXPECT_FALSE(said.empty());
        EXPECT_LT(said.size(), 300U) << said;
        EXPECT_EQ(said.find_first_of("\n\x1b"), std::string::npos) << said;
    }
}

TEST(Hash, IsSha256) {
    EXPECT_EQ(vreid::sha256_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(vreid::sha256_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_THROW(vreid::read_bytes(GOLDEN / "absent.onnx"), vreid::Refused);
    EXPECT_THROW(vreid::read_bytes(GOLDEN), vreid::Refused);
}

}  // namespace

// An engine is held against the machine as by Python: both read tests/data/built_for/cases.json.
#include "engines/built_for.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "vreid/errors.hpp"

namespace {

namespace fs = std::filesystem;

using Json = nlohmann::ordered_json;  // a difference is named in the order of the fields

const fs::path GOLDEN = fs::path(VREID_ROOT) / "tests" / "data" / "built_for" / "cases.json";

TEST(BuiltFor, DiffersAsInPython) {
    const auto cases = Json::parse(std::ifstream(GOLDEN));
    ASSERT_GT(cases.size(), 10U);
    for (const auto& one : cases) {
        const auto about = one["about"].get<std::string>();
        vreid::Manifest manifest;
        manifest.built_for = one["built"].get<std::map<std::string, std::string>>();
        vreid::MachineKey here;
        for (const auto& [field, value] : one["here"].items()) here.emplace_back(field, value);
        std::string refusal;
        try {
            vreid::refuse_elsewhere(manifest, "student.plan", here);
        } catch (const vreid::Refused& refused) {
            refusal = refused.what();
        }
        EXPECT_EQ(refusal, one["differs"].is_null()
                               ? ""
                               : "student.plan was built for " + one["differs"].get<std::string>() +
                                     "; run vreid build again here, from the ONNX it was made of")
            << about;
    }
}

TEST(BuiltFor, TheBoardIsReadWithoutItsZeroByte) {
    const fs::path folder = fs::temp_directory_path() / ("vreid-board-" + std::to_string(::getpid()));
    fs::create_directories(folder);
    const auto read = [&folder](const std::string& text) {
        std::ofstream(folder / "model", std::ios::binary) << text;
        return vreid::board(folder / "model");
    };
    EXPECT_EQ(read(std::string("NVIDIA Jetson Orin NX\0", 22)), "NVIDIA Jetson Orin NX");
    EXPECT_EQ(read("Board \n"), "Board");
    EXPECT_EQ(read(std::string("\0", 1)), std::nullopt);
    EXPECT_EQ(read(""), std::nullopt);
    EXPECT_EQ(vreid::board(folder / "absent"), std::nullopt);
    fs::remove_all(folder);
}

}  // namespace

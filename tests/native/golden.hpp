// What Python says, for C++ to be held against: JSON files that test_native_watch.py writes, in the folder
// VREID_GOLDEN.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace golden {

inline std::filesystem::path folder() {
    const char* told = std::getenv("VREID_GOLDEN");
    return told == nullptr ? "" : told;
}

/// Infinities and NaN are written as text.
inline double number(const nlohmann::json& value) {
    return value.is_string() ? std::strtod(value.get<std::string>().c_str(), nullptr) : value.get<double>();
}

}  // namespace golden

/// The golden file NAME.json as `says`; a test is skipped where Python did not write it, as when ctest runs
/// alone.
#define READ_GOLDEN(says, NAME)                                                                 \
    const std::filesystem::path says##_path = golden::folder() / (std::string(NAME) + ".json"); \
    if (golden::folder().empty()) GTEST_SKIP() << "no VREID_GOLDEN; run pytest tests/native";   \
    ASSERT_TRUE(std::filesystem::exists(says##_path)) << says##_path;                           \
    const nlohmann::json says = nlohmann::json::parse(std::ifstream(says##_path), nullptr, true, true)

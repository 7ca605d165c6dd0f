// What is read of a processor: as tests/deploy/test_quantize.py has it for Python.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engines/processor.hpp"

namespace fs = std::filesystem;

TEST(Processor, VnniIsReadFromWhatTheKernelSays) {
    const fs::path path = fs::path(testing::TempDir()) / "cpuinfo";
    const auto says = [&](const char* text) {
        std::ofstream(path) << text;
        return vreid::has_vnni(path);
    };
    EXPECT_TRUE(says("processor : 0\nflags : fpu avx2 AVX512_VNNI\n"));
    EXPECT_TRUE(says("processor : 0\nFeatures : fp asimd asimddp\n"));
    EXPECT_FALSE(says("processor : 0\nflags : fpu avx2\nflags : avx_vnni\n"));
    EXPECT_FALSE(says("processor : 0\n"));
    fs::remove(path);
    EXPECT_FALSE(vreid::has_vnni(path));
}

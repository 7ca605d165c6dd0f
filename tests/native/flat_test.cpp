// A search has one thread: of OpenBLAS too, whose own threads OpenMP does not rule.
#include "gallery/flat.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace {

/// The BLAS that is loaded here, as a test sees it; set to four threads, and back at the end.
class OneThreadTest : public testing::Test {
 protected:
    void SetUp() override {
        set = reinterpret_cast<void (*)(int)>(::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
        get = reinterpret_cast<int (*)()>(::dlsym(RTLD_DEFAULT, "openblas_get_num_threads"));
        if (set == nullptr || get == nullptr) GTEST_SKIP() << "the BLAS here is not OpenBLAS";
        before_ = get();
        set(4);
        many = get();
        if (many == 1) GTEST_SKIP() << "this OpenBLAS has one thread only";
    }
    void TearDown() override {
        if (set != nullptr && before_ > 0) set(before_);
    }

    void (*set)(int) = nullptr;
    int (*get)() = nullptr;
    int many = 1;

 private:
    int before_ = 0;
};

TEST_F(OneThreadTest, LastsAsLongAsAnySearch) {
    {
        const vreid::gallery::OneThread first;
        EXPECT_EQ(get(), 1);
        std::thread([&] {
            const vreid::gallery::OneThread second;
            EXPECT_EQ(get(), 1);
        }).join();
        EXPECT_EQ(get(), 1);  // the second has ended, the first has not
    }
    EXPECT_EQ(get(), many);
}

TEST_F(OneThreadTest, HoldsWhileASearchRuns) {
    constexpr int kDim = 64;
    constexpr std::int64_t kRows = 4000;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> features(kDim * kRows);
    for (float& number : features) number = normal(random);
    vreid::gallery::Ids ids(kRows);
    for (std::int64_t row = 0; row < kRows; ++row) ids[static_cast<std::size_t>(row)] = row + 1;
    vreid::gallery::FlatIndex index(kDim, kRows);
    index.add(ids, ids, features);
    const std::vector<float> queries(features.begin(),
                                     features.begin() + 64 * kDim);  // a batch that BLAS multiplies
    std::atomic<bool> seen{false};
    std::atomic<bool> ended{false};
    std::thread watcher([&] {
        while (!ended && !seen) seen = get() == 1;
    });
    for (int turn = 0; turn < 2000 && !seen; ++turn) static_cast<void>(index.search(queries, 1, {}));
    ended = true;
    watcher.join();
    EXPECT_TRUE(seen);
    EXPECT_EQ(get(), many);
}

}  // namespace

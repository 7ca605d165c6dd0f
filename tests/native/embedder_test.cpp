// The embedder: features of the colour model on every engine that was compiled in, batches, and what is
// refused.
#include "vreid/embedder.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <thread>

#include "core/files.hpp"
#include "core/model.hpp"
#include "engines/table.hpp"
#include "program/measure.hpp"
#include "vreid/errors.hpp"

namespace {

namespace fs = std::filesystem;

const fs::path COLOUR = fs::path(VREID_ROOT) / "tests" / "data" / "colour" / "colour.json";
const fs::path STUDENT = fs::path(VREID_ROOT) / "models" / "zoo" / "vreid-s.json";

cv::Mat plain(int height, int width, const cv::Scalar& colour) { return {height, width, CV_8UC3, colour}; }

/// The engines that run an ONNX file here.
std::vector<std::string> onnx_engines() {
    std::vector<std::string> names = vreid::engine_names();
    names.erase(std::remove(names.begin(), names.end(), "tensorrt"), names.end());
    return names;
}

std::string refusal_of(const std::function<void()>& work) {
    try {
        work();
        return "";
    } catch (const vreid::Refused& refused) {
        return refused.what();
    }
}

std::unique_ptr<vreid::Engine> opened(const vreid::Manifest& manifest, const fs::path& engine,
                                      const std::string& name = "") {
    return vreid::open_engine(manifest, vreid::engine_file(manifest, engine, "its.json"), 1, name);
}

class OnEngine : public testing::TestWithParam<std::string> {};

TEST_P(OnEngine, TheFeatureIsTheMeanColourOfUnitLength) {
    auto embedder = vreid::open_embedder(COLOUR, 1, GetParam());
    const auto found = embedder.embed({plain(5, 9, {10, 20, 30}), plain(80, 30, {0, 0, 7})});
    const float length = std::sqrt(1400.0F);
    const std::vector<float> wanted{10 / length, 20 / length, 30 / length, 0, 0, 1};
    ASSERT_EQ(found.size(), wanted.size());
    for (std::size_t place = 0; place < wanted.size(); ++place)
        EXPECT_NEAR(found[place], wanted[place], 1e-6);
}

TEST_P(OnEngine, EverySizeOfBatchGivesTheSame) {
    auto embedder = vreid::open_embedder(COLOUR, 1, GetParam());
    std::vector<cv::Mat> crops;
    for (int place = 0; place < 70; ++place)
        crops.push_back(plain(8 + place, 20, {1.0 * place, 50, 200.0 - place}));
    const auto all = embedder.embed(crops);  // 32 + 32 + 6
    ASSERT_EQ(all.size(), 210U);
    for (std::size_t place = 0; place < crops.size(); place += 23) {
        const auto one = embedder.embed({crops[place]});
        for (std::size_t part = 0; part < 3; ++part) EXPECT_NEAR(one[part], all[3 * place + part], 1e-6);
    }
    EXPECT_TRUE(embedder.embed({}).empty());
}

TEST_P(OnEngine, ThreadsTakeTurns) {
    const auto manifest = vreid::read_manifest(COLOUR);
    const auto engine = opened(manifest, COLOUR.parent_path() / manifest.engine, GetParam());
    const auto work = [&engine](std::uint8_t colour) {
        const std::vector<std::uint8_t> pixels(192, colour);
        for (int turn = 0; turn < 200; ++turn) {
            std::array<float, 3> feature{};
            engine->infer(pixels.data(), 1, feature.data());
            ASSERT_NEAR(feature[0], 1 / std::sqrt(3.0F), 1e-5);
        }
    };
    std::thread first(work, std::uint8_t{10});
    std::thread second(work, std::uint8_t{200});
    first.join();
    second.join();
}

/// Whether this thread's stack for signal handlers, if it has one, is memory still.
bool has_sound_signal_stack() {
    stack_t stack{};
    if (sigaltstack(nullptr, &stack) != 0) return false;
    if (stack.ss_sp == nullptr || (stack.ss_flags & SS_DISABLE) != 0) return true;
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto begin = reinterpret_cast<std::uintptr_t>(stack.ss_sp) / page * page;
    unsigned char resident = 0;
    return mincore(reinterpret_cast<void*>(begin), 1, &resident) == 0;
}

TEST_P(OnEngine, ClosedInOpeningOrderOrInAnotherThreadItLeavesTheSignalStack) {
    const auto manifest = vreid::read_manifest(COLOUR);
    const auto open = [&] { return opened(manifest, COLOUR.parent_path() / manifest.engine, GetParam()); };
    for (int turn = 0; turn < 2; ++turn) {
        auto first = open();
        auto second = open();
        first.reset();
        second.reset();
        EXPECT_TRUE(has_sound_signal_stack()) << "in opening order";
        auto third = open();
        std::thread([&third] { third.reset(); }).join();
        EXPECT_TRUE(has_sound_signal_stack()) << "in another thread";
        std::thread([&] {
            third = open();
            first = open();
            third.reset();
            first.reset();
            EXPECT_TRUE(has_sound_signal_stack()) << "in opening order, of another thread";
        }).join();
    }
}

INSTANTIATE_TEST_SUITE_P(Engines, OnEngine, testing::ValuesIn(onnx_engines()),
                         [](const auto& one) { return one.param; });

/// Gives a fixed value.
class Fake : public vreid::Engine {
 public:
    explicit Fake(float value) : value_(value) {}
    void infer(const std::uint8_t* pixels, int batch, float* features) override {
        batches.push_back(batch);
        std::fill_n(features, 3 * batch, value_ + static_cast<float>(pixels[0]));
    }
    static inline std::vector<int> batches;

 private:
    float value_;
};

TEST(Embedder, FillsUpABatchThatIsTooSmall) {
    auto manifest = vreid::read_manifest(COLOUR);
    manifest.input.batch = {4, 4, 4};
    Fake::batches.clear();
    vreid::Embedder embedder(manifest, std::make_unique<Fake>(0.0F));
    const auto found = embedder.embed(std::vector<cv::Mat>(6, plain(8, 8, {9, 9, 9})));
    EXPECT_EQ(found, std::vector<float>(18, 9.0F));
    EXPECT_EQ(Fake::batches, (std::vector<int>{4, 4}));
}

TEST(Embedder, RefusesWhatIsNoNumber) {
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        vreid::Embedder embedder(vreid::read_manifest(COLOUR), std::make_unique<Fake>(value));
        EXPECT_NE(refusal_of([&] { embedder.embed({plain(8, 8, {0, 0, 0})}); }).find("gave NaN or infinity"),
                  std::string::npos);
    }
}

TEST(Engine, ThatIsUnknownIsRefusedWithTheFix) {
    EXPECT_NE(refusal_of([] { vreid::open_embedder(COLOUR, 1, "abacus"); }).find("--engine"),
              std::string::npos);
    EXPECT_NE(refusal_of([] { vreid::open_embedder(COLOUR, 0); }).find("runs on 1 to 1024 threads, not 0"),
              std::string::npos);
}

TEST(Engine, OfABackendThatIsNotHereIsAnotherThatRunsTheSameFile) {
    auto manifest = vreid::read_manifest(COLOUR);
    const auto names = vreid::engine_names();
    const auto has = [&names](const char* name) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    for (const auto* backend : {"onnxruntime", "openvino", "opencv"}) {
        manifest.backend = backend;
        const std::string found = vreid::engine_for(manifest);
        EXPECT_EQ(found, has(backend)         ? backend
                         : has("openvino")    ? "openvino"
                         : has("onnxruntime") ? "onnxruntime"
                                              : backend);
        EXPECT_EQ(vreid::engine_for(manifest, "opencv"), "opencv");
    }
    manifest.backend = "tensorrt";
    EXPECT_EQ(vreid::engine_for(manifest), "tensorrt");
}

/// The colour model's manifest with a change, held against its engine.
std::string refusal_of_changed(const std::function<void(vreid::Manifest&)>& change) {
    auto manifest = vreid::read_manifest(COLOUR);
    change(manifest);
    return refusal_of(
        [&] { opened(manifest, COLOUR.parent_path() / manifest.engine, onnx_engines().front()); });
}

TEST(Contract, PortsThatAreNotTheManifestsAreRefused) {
    EXPECT_EQ(refusal_of_changed([](auto&) {}), "");
    EXPECT_NE(
        refusal_of_changed([](auto& one) { one.input.height = 9; }).find("takes images uint8 (any, 8, 8, 3)"),
        std::string::npos);
    EXPECT_NE(refusal_of_changed([](auto& one) { one.input.name = "x"; }).find("its manifest says x uint8"),
              std::string::npos);
    EXPECT_NE(
        refusal_of_changed([](auto& one) { one.output.dim = 4; }).find("gives embedding float32 (any, 3)"),
        std::string::npos);
}

TEST(Contract, APlanOfAnotherDeviceNeedsItsEngine) {
    auto manifest = vreid::read_manifest(COLOUR);
    manifest.backend = "tensorrt";
    const fs::path folder = fs::temp_directory_path() / ("vreid-" + std::to_string(::getpid()));
    fs::create_directory(folder);
    const fs::path plan = folder / "student.engine";
    std::ofstream(plan) << "a plan";
    manifest.sha256 = vreid::sha256_of(vreid::read_bytes(plan));
    EXPECT_NE(refusal_of([&] { opened(manifest, plan); }), "");
    const auto refusal = refusal_of([&] { opened(manifest, plan, onnx_engines().front()); });
    EXPECT_NE(refusal.find("runs ONNX files"), std::string::npos) << refusal;
    fs::remove_all(folder);
}

TEST(Engine, OfAFileThatIsNoneIsRefused) {
    auto manifest = vreid::read_manifest(COLOUR);
    const fs::path folder = fs::temp_directory_path() / ("vreid-" + std::to_string(::getpid()));
    fs::create_directory(folder);
    std::ofstream(folder / "words.onnx") << "not an ONNX file";
    manifest.sha256 = vreid::sha256_of(vreid::read_bytes(folder / "words.onnx"));
    for (const auto& engine : onnx_engines()) {
        const auto refusal = refusal_of([&] { opened(manifest, folder / "words.onnx", engine); });
        EXPECT_NE(refusal.find("not a complete ONNX file"), std::string::npos) << engine << ": " << refusal;
    }
    fs::remove_all(folder);
}

TEST(Engine, RunsNoOtherBytesThanThoseOfItsHash) {
    const auto manifest = vreid::read_manifest(COLOUR);
    const auto refusal =
        refusal_of([&] { opened(manifest, STUDENT.parent_path() / "vreid-s.onnx", onnx_engines().front()); });
    EXPECT_NE(refusal.find("sha256 differs"), std::string::npos) << refusal;
}

TEST(Model, HandsOnTheBytesThatWereHashed) {
    const fs::path folder = fs::temp_directory_path() / ("vreid-" + std::to_string(::getpid()));
    fs::create_directory(folder);
    fs::copy_file(COLOUR, folder / "colour.json");
    fs::copy_file(COLOUR.parent_path() / "colour.onnx", folder / "colour.onnx");
    const auto [manifest, file] = vreid::read_model(folder / "colour.json");
    std::ofstream(folder / "colour.onnx") << "swapped";  // behind the back of whoever reads it again
    EXPECT_EQ(vreid::sha256_of(file.bytes), manifest.sha256);
    for (const auto& name : onnx_engines()) {
        const auto engine = vreid::open_engine(manifest, file, 1, name);
        const std::vector<std::uint8_t> pixels(192, 7);
        std::array<float, 3> feature{};
        engine->infer(pixels.data(), 1, feature.data());
        EXPECT_NEAR(feature[0], 1 / std::sqrt(3.0F), 1e-5) << name;
    }
    fs::remove_all(folder);
}

/// AddressSanitizer keeps what was freed for a while; its own leak check at the end takes the place of this
/// one.
constexpr bool is_sanitized() {
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    return false;
#endif
}

TEST(Embedder, TenThousandEmbedsKeepTheMemoryFlat) {
    auto embedder = vreid::open_embedder(COLOUR, 1, onnx_engines().front());
    const std::vector<cv::Mat> crops{plain(30, 40, {1, 2, 3}), plain(50, 20, {3, 2, 1}),
                                     plain(8, 8, {9, 9, 9})};
    const auto embed = [&](int times) {
        for (int turn = 0; turn < times; ++turn)
            embedder.embed({crops.begin(), crops.begin() + 1 + turn % 3});
    };
    embed(1000);
    const auto before = vreid::program::memory("VmRSS");
    embed(10'000);
    const auto growing_folder = vreid::program::memory("VmRSS") - before;
    EXPECT_TRUE(is_sanitized() || growing_folder < 1 << 20) << growing_folder;
}

TEST(Student, OfTheWheelRunsOnTheEnginesThatCan) {
    for (const auto& engine : onnx_engines()) {
        const auto refusal = refusal_of([&] {
            auto embedder = vreid::open_embedder(STUDENT, 1, engine);
            const auto found = embedder.embed({plain(60, 90, {40, 80, 120})});
            float squares = 0;
            for (const float value : found) squares += value * value;
            EXPECT_NEAR(squares, 1, 1e-4) << engine;
        });
        if (engine == "opencv" && CV_VERSION_MAJOR < 5) {
            EXPECT_NE(refusal.find("before OpenCV 5"), std::string::npos) << refusal;
        } else {
            EXPECT_EQ(refusal, "");
        }
    }
}

}  // namespace

// vreid-native bench: latency, throughput, start-up and memory of one model, and of the cutting and resizing
// before it.
#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "measure.hpp"
#include "output.hpp"
#include "verbs.hpp"
#include "vreid/embedder.hpp"
#include "vreid/preprocess.hpp"

namespace vreid::program {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int WARM_UP = 2;
constexpr int MOST_IMAGES = 1024;  // of a batch, as in models/ranges.py
constexpr int MOST_RUNS = 1'000'000;
constexpr int BOXES = 32;
const cv::Size FRAME(1920, 1080);

struct Flags {
    Model model;
    std::vector<int> batches{1, 8};
    int runs = 50;
    bool json = false;
};

/// Milliseconds of each of `runs` calls, after a warm-up.
template <typename Work>
std::vector<double> times_of(int runs, const Work& work) {
    for (int turn = 0; turn < WARM_UP; ++turn) work();
    std::vector<double> times;
    for (int turn = 0; turn < runs; ++turn) {
        const auto began = Clock::now();
        work();
        times.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
    }
    return times;
}

/// The fields are those of `vreid bench`.
Document timing_of(int images, const std::vector<double>& times) {
    const double p50 = percentile(times, 50);
    return {{"batch", images},
            {"runs", times.size()},
            {"min_ms", *std::min_element(times.begin(), times.end())},
            {"p50_ms", p50},
            {"p90_ms", percentile(times, 90)},
            {"p99_ms", percentile(times, 99)},
            {"images_per_s", 1000 * images / p50}};
}

/// Boxes of vehicles as a roadside camera sees them: 40 to 400 pixels wide, anywhere in the frame.
std::vector<Box> boxes_of(int count, std::mt19937& random) {
    std::vector<Box> boxes;
    for (int place = 0; place < count; ++place) {
        const auto width = static_cast<float>(40 + random() % 361);
        const auto height = 0.75F * width;
        const auto left = static_cast<float>(random() % 1500);
        const auto top = static_cast<float>(random() % 760);
        boxes.push_back({left, top, left + width, top + height});
    }
    return boxes;
}

void fill(std::vector<std::uint8_t>& pixels, std::mt19937& random) {
    std::generate(pixels.begin(), pixels.end(), [&random] { return static_cast<std::uint8_t>(random()); });
}

Document preprocessing(const Manifest& manifest, int threads, int runs) {
    std::mt19937 random(0);
    const int height = manifest.input.height;
    const int width = manifest.input.width;
    const auto size = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
    std::vector<std::uint8_t> noise(static_cast<std::size_t>(FRAME.area()) * 3);
    std::vector<std::uint8_t> pixels(BOXES * size);
    fill(noise, random);
    const auto boxes = boxes_of(BOXES, random);
    const cv::Mat frame(FRAME, CV_8UC3, noise.data());
    const Nv12 planes{cv::Mat(FRAME, CV_8UC1, noise.data()),
                      cv::Mat(FRAME / 2, CV_8UC2, noise.data() + FRAME.area())};
    const auto bgr = [&] { batch_of_boxes(frame, boxes, 0, height, width, pixels.data(), threads); };
    const auto nv12 = [&] { batch_of_boxes(planes, boxes, 0, height, width, pixels.data(), threads); };
    return {{"bgr", timing_of(BOXES, times_of(runs, bgr))}, {"nv12", timing_of(BOXES, times_of(runs, nv12))}};
}

Document bench(const Flags& flags) {
    const auto began = Clock::now();
    Embedder embedder =
        open_embedder(manifest_path(flags.model.manifest), flags.model.threads, flags.model.engine);
    const auto& manifest = embedder.manifest();
    const auto most = static_cast<std::size_t>(*std::max_element(flags.batches.begin(), flags.batches.end()));
    const auto size =
        static_cast<std::size_t>(manifest.input.height) * static_cast<std::size_t>(manifest.input.width) * 3;
    std::mt19937 random(0);
    std::vector<std::uint8_t> pixels(most * size);
    std::vector<float> features(most * static_cast<std::size_t>(manifest.output.dim));
    embedder.infer(pixels.data(), 1, features.data());
    const double load = std::chrono::duration<double, std::milli>(Clock::now() - began).count();
    fill(pixels, random);
    Document timings = Document::array();
    for (const int batch : flags.batches) {
        const auto infer = [&] { embedder.infer(pixels.data(), batch, features.data()); };
        timings.push_back(timing_of(batch, times_of(flags.runs, infer)));
    }
    const std::int64_t peak = memory("VmHWM");  // before the frame of the preprocessing
    return {{"name", manifest.name},
            {"backend", engine_for(manifest, flags.model.engine)},
            {"precision", manifest.precision},
            {"threads", flags.model.threads},
            {"load_ms", load},
            {"memory_bytes", peak},
            {"timings", timings},
            {"preprocess", preprocessing(manifest, flags.model.threads, flags.runs)}};
}

void print_bench(const Document& found) {
    std::vector<std::vector<std::string>> rows{
        {"what", "batch", "min ms", "p50 ms", "p90 ms", "p99 ms", "images/s"}};
    const auto add = [&rows](const std::string& what, const Document& timing) {
        std::vector<std::string> row{what, std::to_string(timing["batch"].get<int>())};
        for (const auto* field : {"min_ms", "p50_ms", "p90_ms", "p99_ms"})
            row.push_back(fixed(timing[field], 2));
        row.push_back(fixed(timing["images_per_s"], 0));
        rows.push_back(row);
    };
    for (const auto& timing : found["timings"]) add("embed", timing);
    add("cut and resize, BGR", found["preprocess"]["bgr"]);
    add("cut and resize, NV12", found["preprocess"]["nv12"]);
    print_table(found["name"].get<std::string>() + " on " + found["backend"].get<std::string>() +
                    ", threads " + std::to_string(found["threads"].get<int>()) + "; first embedding after " +
                    fixed(found["load_ms"], 0) + " ms, memory " +
                    fixed(found["memory_bytes"].get<double>() / (1 << 20), 0) + " MiB",
                rows);
}

}  // namespace

void add_bench(CLI::App& program, int& code) {
    const auto flags = std::make_shared<Flags>();
    CLI::App* verb = program.add_subcommand("bench", "latency, throughput, start-up and memory of one model");
    add_model(*verb, flags->model);
    verb->add_option("--batches", flags->batches, "Batch sizes")
        ->capture_default_str()
        ->check(whole_number("--batches", 1, MOST_IMAGES));
    verb->add_option("--runs", flags->runs, "Timed calls of each size")
        ->capture_default_str()
        ->check(whole_number("--runs", 1, MOST_RUNS));
    verb->add_flag("--json", flags->json, "Print one JSON document on stdout instead of the table");
    verb->callback([flags, &code] {
        const Document found = bench(*flags);
        if (flags->json) {
            print_document(found);
        } else {
            print_bench(found);
        }
        code = 0;
    });
}

}  // namespace vreid::program

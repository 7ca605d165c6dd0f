// vreid-native run: find vehicles again in video files and live cameras.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <opencv2/core/utility.hpp>
#include <opencv2/core/utils/logger.hpp>

#include "model.hpp"
#include "output.hpp"
#include "times.hpp"
#include "verbs.hpp"
#include "vreid/errors.hpp"
#include "vreid/watch.hpp"

namespace vreid::program {
namespace {

struct Flags {
    WatchOptions options;
    std::filesystem::path model;
    std::string embed = "smart", began;
    bool json = false;
};

std::atomic<bool> stopping{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

extern "C" void stop_well(int number) {
    if (stopping.exchange(true)) std::_Exit(128 + number);  // the second time at once
}

void tell(const Document& summary, const std::filesystem::path& out) {
    std::vector<std::vector<std::string>> cameras{{"camera", "frames", "dropped", "reconnects", "tracks"}};
    for (const auto& [name, camera] : summary["cameras"].items()) {
        cameras.push_back({name, camera["frames"].dump(), camera["dropped"].dump(),
                           camera.contains("reconnects") ? camera["reconnects"].dump() : "0",
                           camera["tracks"].dump()});
    }
    print_table("cameras", cameras);
    std::vector<std::vector<std::string>> stages{
        {"stage", "count", "p50 ms", "p90 ms", "p99 ms", "s in all"}};
    for (const auto& [name, stage] : summary["stages"].items()) {
        stages.push_back({name, stage["count"].dump(), stage["p50_ms"].dump(), stage["p90_ms"].dump(),
                          stage["p99_ms"].dump(), stage["seconds"].dump()});
    }
    print_table("latency", stages);
    std::cerr << summary["vehicles"] << " vehicles (" << summary["known"] << " known, " << summary["enrolled"]
              << " newly enrolled), " << summary["seen_by_several"] << " of them in several cameras; "
              << summary["unknown"] << " unknown sightings; " << summary["frames_per_second"]
              << " frames a second, " << summary["peak_memory_mb"]
              << " MB at most\nreport: " << (out / "report.json").string() << '\n';
}

int run(const Flags& flags) {
    WatchOptions options = flags.options;
    options.model = manifest_path(flags.model);
    options.embed_every = flags.embed == "every";
    if (!flags.began.empty()) options.began = time_of(flags.began);
    options.warn = [](const std::string& sentence) { std::cerr << "vreid-native: " << sentence << '\n'; };
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    if (terminal) {
        options.progress = [](std::int64_t frames) {
            if (frames % 10 == 0) std::cerr << "\rframes " << frames << std::flush;
        };
    }
    cv::setNumThreads(options.threads);
    cv::utils::logging::setLogLevel(
        cv::utils::logging::LOG_LEVEL_SILENT);  // it read its environment before main
    std::signal(SIGINT, stop_well);
    std::signal(SIGTERM, stop_well);
    try {
        const Document summary = Document::parse(watch_sources(options, stopping));
        if (terminal) std::cerr << "\r";
        if (flags.json) {
            print_document(summary);
        } else {
            tell(summary, options.out);
        }
        return 0;
    } catch (const Stopped& stopped) {
        std::cerr << "vreid-native: " << stopped.what() << '\n';
        return 130;  // as a shell says of a program that was interrupted
    }
}

}  // namespace

void add_run(CLI::App& program, int& code) {
    const auto flags = std::make_shared<Flags>();
    WatchOptions& options = flags->options;
    CLI::App* verb = program.add_subcommand("run", "find vehicles again in video files and live cameras");
    verb->add_option("sources", options.sources,
                     "[name=]URI each: cam1.mp4, dir/, img_%04d.jpg, 0, /dev/video0, rtsp://..., csi://0, "
                     "gst:PIPELINE")
        ->required();
    verb->add_option("--out", options.out, "Folder for sightings.jsonl and report.json")->required();
    verb->add_option("--model", flags->model, "Manifest .json of a lowered model")->required();
    verb->add_option("--engine", options.engine,
                     "Run the manifest's ONNX file on another engine than its backend");
    verb->add_option(
        "--gallery", options.gallery,
        "Gallery file; with --enrol-unknown it is made when missing, and may be left out for one run only");
    verb->add_option("--detector", options.detector,
                     "yolox:FILE[?tiles=2], motion, or replay:PATH (a MOT file, or a folder of <camera>.txt)")
        ->capture_default_str();
    verb->add_flag("--enrol-unknown", options.enrol_unknown,
                   "Give every unknown vehicle a new id in the gallery");
    verb->add_option("--threshold", options.threshold,
                     "Least cosine of a known vehicle; the manifest's by default");
    verb->add_option("--min-score", options.min_score, "Least detector score; the detector's own by default");
    verb->add_option(
        "--new-below", options.new_below,
        "A vehicle is new below this score and left unknown up to the threshold; the threshold by default");
    verb->add_option("--embed", flags->embed,
                     "Which crops are embedded: those that tell something new, or every one")
        ->check(CLI::IsMember({"smart", "every"}))
        ->capture_default_str();
    verb->add_option(
        "--began", flags->began,
        "When the files' first frames were taken, such as 2026-11-22T08:00+01:00; now by default");
    verb->add_option("--threads", options.threads, "CPU threads of detector and engine")
        ->capture_default_str();
    verb->add_flag("--json", flags->json, "Print report.json's content on stdout");
    verb->callback([flags, &code] { code = run(*flags); });
}

}  // namespace vreid::program

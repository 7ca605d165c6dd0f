// The summary of a run.
#include "report.hpp"

#include <sys/resource.h>

#include <array>
#include <cmath>
#include <ctime>
#include <fstream>

#include "numbers.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

using nlohmann::ordered_json;

double near(double value, int places) { return number_of(rounded(value, places)).value_or(value); }

std::string in_utc(double seconds) {
    const auto whole = static_cast<std::time_t>(std::floor(seconds));
    std::tm parts{};
    ::gmtime_r(&whole, &parts);
    std::array<char, 40> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S+00:00", &parts);
    return text.data();
}

double peak_memory_mb() {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

ordered_json cameras_of(const Facts& facts) {
    ordered_json cameras = ordered_json::object();
    for (const auto& source : facts.sources) {
        const Watching& view = facts.watching.at(source->camera);
        ordered_json& camera = cameras[source->camera];
        camera["frames"] = view.frames;
        camera["dropped"] = source->dropped();
        if (source->live()) camera["reconnects"] = source->reconnects();
        camera["tracks"] = view.ended;
        camera["width"] = source->size().width;
        camera["height"] = source->size().height;
        camera["frame_rate"] = source->frame_rate();
    }
    return cameras;
}

}  // namespace

ordered_json summary_of(const Facts& facts) {
    std::int64_t frames = 0, embedded = 0, passed_over = 0, several = 0;
    for (const auto& [camera, view] : facts.watching) {
        frames += view.frames;
        embedded += view.embedded;
        passed_over += view.passed_over;
    }
    for (const auto& [vehicle, cameras] : facts.tally.cameras) several += cameras.size() > 1 ? 1 : 0;
    ordered_json stages = ordered_json::object();
    double inside = 0, waited = 0;
    const auto timed = facts.profile.summary();
    for (const char* name : {"wait", "detect", "track", "preprocess", "embed", "search", "tell"}) {
        for (const auto& [stage, took] : timed) {
            if (stage != name) continue;
            stages[stage] = {{"count", took.count},
                             {"p50_ms", near(took.p50_ms, 3)},
                             {"p90_ms", near(took.p90_ms, 3)},
                             {"p99_ms", near(took.p99_ms, 3)},
                             {"seconds", near(took.seconds, 3)}};
            if (stage == "detect" || stage == "embed") inside += took.seconds;
            if (stage == "wait" && facts.live) waited = took.seconds;
        }
    }
    const auto vehicles = static_cast<std::int64_t>(facts.tally.cameras.size());
    const auto enrolled = static_cast<std::int64_t>(facts.tally.enrolled.size());
    const Manifest& manifest = facts.manifest;
    ordered_json told;
    told["started"] = in_utc(facts.started);
    told["model"] = {{"name", manifest.name},           {"backend", manifest.backend},
                     {"precision", manifest.precision}, {"fingerprint", manifest.fingerprint},
                     {"params", manifest.cost.params},  {"macs", manifest.cost.macs},
                     {"flops", manifest.cost.flops}};
    told["cameras"] = cameras_of(facts);
    told["vehicles"] = vehicles;
    told["seen_by_several"] = several;
    told["known"] = vehicles - enrolled;
    told["enrolled"] = enrolled;
    told["unknown"] = facts.tally.unknown;
    told["sightings"] = facts.tally.sightings;
    told["embedded"] = embedded;
    told["passed_over"] = passed_over;
    told["threshold"] = facts.threshold;
    told["seconds"] = near(facts.seconds, 2);
    told["frames"] = frames;
    told["frames_per_second"] = near(static_cast<double>(frames) / std::max(facts.seconds, 1e-9), 2);
    told["peak_memory_mb"] = near(peak_memory_mb(), 1);
    told["stages"] = stages;
    told["outside"] = near(std::max(0.0, 1 - inside / std::max(facts.seconds - waited, 1e-9)), 4);
    told["identity"] = nullptr;  // of a run that is held against ground truth, which is Python's
    told["detector"] = facts.detector;
    told["embedding"] = facts.embedding;
    return told;
}

void write_report(const std::filesystem::path& folder, const std::string& text) {
    const std::filesystem::path path = folder / "report.json", partial = folder / ".report.json.part";
    {
        std::ofstream file(partial, std::ios::binary);
        file << text << '\n' << std::flush;
        if (!file) throw Refused("cannot write " + partial.string() + "; make room or choose another --out");
    }
    std::filesystem::rename(partial, path);
}

}  // namespace vreid::watch

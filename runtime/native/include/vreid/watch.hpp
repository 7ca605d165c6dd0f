// One run as a person asks for it: videos or live cameras in, sightings.jsonl and report.json out. Mirrors
// runtime/session.py.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace vreid {

/// What to run; the names and meanings are those of `vreid run`.
struct WatchOptions {
    std::vector<std::string> sources;  // [name=]URI each
    std::filesystem::path model;       // a manifest
    std::string engine;                // "" is the manifest's backend
    std::filesystem::path out;         // the folder
    std::string detector = "motion";
    std::optional<std::filesystem::path> gallery;  // none: one that lasts for the run
    bool enrol_unknown = false;
    std::optional<double> threshold;  // none: the manifest's
    std::optional<double> min_score;  // none: the detector's own
    std::optional<double> new_below;  // none: the threshold
    bool embed_every = false;         // every crop, not only those that tell something new
    std::optional<double> began;  // when the files' first frames were taken, seconds since 1970; none: now
    int threads = 1;
    std::function<void(std::int64_t)> progress = [](std::int64_t) {};  // frames done
    std::function<void(const std::string&)> warn = [](const std::string&) {};
};

/// A run over files that was stopped: it left nothing behind.
class Stopped : public std::runtime_error {
 public:
    Stopped() : std::runtime_error("stopped; nothing was written") {}
};

/// Run; the summary that report.json holds, as JSON.
///
/// A run over files writes `out` and the gallery at its end, all or nothing, and decides all identities
/// jointly there; setting `stop` ends it with Stopped. With a live source each track is decided when it ends,
/// or when it has been open for a minute, both grow as it goes, and setting `stop` ends it well. Refused
/// before anything is written when a source, model or gallery does not fit.
std::string watch_sources(const WatchOptions& options, const std::atomic<bool>& stop);

}  // namespace vreid

// `report.json`: what a run counted and timed, with the fields of Python's. Mirrors Run.summary in
// runtime/pipeline.py.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "deciding.hpp"
#include "source.hpp"
#include "vreid/manifest.hpp"
#include "vreid/profile.hpp"
#include "watching.hpp"

namespace vreid::watch {

/// What a run knows of itself at its end.
struct Facts {
    const Manifest& manifest;
    const Sources& sources;
    const std::map<std::string, Watching>& watching;
    const Tally& tally;
    const Profile& profile;
    double started;  // seconds since 1970
    double seconds;
    double threshold;
    bool live;
    std::string detector, embedding;
};

nlohmann::ordered_json summary_of(const Facts& facts);

/// Write `text` as `folder`/report.json, whole or not at all.
void write_report(const std::filesystem::path& folder, const std::string& text);

}  // namespace vreid::watch

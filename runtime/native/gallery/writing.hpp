// What a gallery writes down of a vehicle: statements and their audit rows; the transaction is the caller's.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>
#include <optional>
#include <string>

#include "database.hpp"
#include "kept.hpp"
#include "vreid/gallery.hpp"

namespace vreid::gallery {

/// A new vehicle; see `Gallery::add_vehicle`.
std::int64_t add_vehicle(const Database& database, const std::string& who,
                         const std::optional<std::string>& name, const cv::Mat& picture,
                         const std::optional<std::string>& kind);

/// A new sighting; see `Gallery::add_sighting`. One without a time gets this moment, which
/// ages too.
std::int64_t add_sighting(const Database& database, int dim, std::int64_t vehicle, const Sighting& sighting,
                          double score, const std::string& run);

/// Another name for `vehicle`, which is called `old`.
void rename(const Database& database, const std::string& who, std::int64_t vehicle, const std::string& old,
            const std::string& name);

/// Forget `vehicle` for good: rows, and what the audit kept of it and of those merged into it; only that it
/// was removed stays. Its sightings are added to `removals`.
void remove(const Database& database, KeptRemovals& removals, const std::string& who, std::int64_t vehicle);

/// What undoing a change needs, written in the transaction of the change: one audit row a change.
using Detail = nlohmann::ordered_json;

/// Who runs this process; "unknown" where the system has no name for the user, as in some containers.
std::string login();

/// Write one change down.
void note(const Database& database, const std::string& who, const char* verb, std::int64_t vehicle,
          const Detail& detail);

}  // namespace vreid::gallery

// Who changed what: one row a change, written in the transaction of the change, holding what undoing it
// needs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "database.hpp"

namespace vreid::gallery {

using Detail = nlohmann::ordered_json;

/// Seconds since 1970.
double now();

/// Who runs this process; "unknown" where the system has no name for the user, as in some containers.
std::string login();

/// Write one change down.
void note(const Database& database, const std::string& who, const char* verb, std::int64_t vehicle,
          const Detail& detail);

/// No row holds a name, picture or feature of `vehicle` any longer; that there was a change, and whose,
/// stays.
void forget(const Database& database, std::int64_t vehicle);

}  // namespace vreid::gallery

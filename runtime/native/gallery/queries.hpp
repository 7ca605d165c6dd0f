// What a gallery says: the vehicles that it holds, and its totals.
#pragma once

#include <string>
#include <vector>

#include "database.hpp"
#include "vreid/gallery.hpp"

namespace vreid::gallery {

/// SQL and its values.
struct Condition {
    std::string sql;
    std::vector<Value> values;
};

/// A condition over a row `v` of vehicles.
Condition vehicles_where(const Filter& only);

bool is_everything(const Filter& only);

/// The vehicles that `only` lets through, by rising id.
std::vector<Vehicle> listed(const Database& database, bool thumbnails, const Filter& only);

/// The totals.
Stats counted(const Database& database, const About& about);

}  // namespace vreid::gallery

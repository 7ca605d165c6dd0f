// Which vehicles are meant: by camera, time, kind, plate, run and name, as SQL conditions
// (runtime/gallery/sqlite/filter.py).
#include <utility>

#include "listing.hpp"
#include "names.hpp"
#include "text.hpp"

namespace vreid::gallery {
namespace {

/// `part` once for each of `count`, with `between` them.
std::string repeated(const std::string& part, std::size_t count, const std::string& between) {
    std::string text;
    for (std::size_t at = 0; at < count; ++at) text += (at > 0 ? between : "") + part;
    return text;
}

template <typename Values>
void add(Condition& to, const std::string& sql, const Values& values) {
    to.sql += " AND " + sql;
    to.values.insert(to.values.end(), values.begin(), values.end());
}

template <typename Values>
void add_one_of(Condition& to, const std::string& column, const Values& values) {
    if (!values.empty()) add(to, column + " IN (" + repeated("?", values.size(), ", ") + ")", values);
}

template <typename Values>
void add_like(Condition& to, const std::string& pattern, const Values& values) {
    if (!values.empty()) add(to, "(" + repeated(pattern, values.size(), " OR ") + ")", values);
}

template <typename Change>
std::vector<std::string> each(const std::vector<std::string>& texts, const Change& change) {
    std::vector<std::string> changed;
    for (const std::string& text : texts) changed.push_back(change(text));
    return changed;
}

/// A pattern with * and ? as an SQL GLOB, in which "[" is special too.
std::string literal(const std::string& text) {
    std::string pattern;
    for (const char one : text) pattern += one == '[' ? std::string("[[]") : std::string(1, one);
    return pattern;
}

/// Plates are read with and without spaces and hyphens.
std::string bare(const std::string& text) {
    return "replace(replace(upper(" + text + "), ' ', ''), '-', '')";
}

/// A condition over a row `s` of sightings; ids, names and kinds are not looked at.
Condition sightings_where(const Filter& only) {
    Condition where{"1", {}};
    add_one_of(where, "s.camera", each(only.cameras, nfc));
    add_one_of(where, "s.run", only.runs);
    add_like(where, bare("s.plate") + " GLOB " + bare("?"), each(only.plates, literal));
    if (only.since) add(where, "s.seen >= ?", std::vector<Value>{*only.since});
    if (only.until) add(where, "s.seen < ?", std::vector<Value>{*only.until});
    return where;
}

std::string sighted(const std::string& where) {
    return "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND " + where + ")";
}

}  // namespace

Condition vehicles_where(const Filter& only) {
    Condition where{"1", {}};
    add_one_of(where, "v.id", only.ids);
    add_like(where, "v.key GLOB ?", each(only.names, pattern_of));
    const Condition seen = sightings_where(only);
    if (only.kinds.empty()) {
        if (!seen.values.empty()) add(where, sighted(seen.sql), seen.values);
        return where;
    }
    // a vehicle that is itself of the kind passes by kind without a sighting
    const std::string of_kind = "kind IN (" + repeated("?", only.kinds.size(), ", ") + ")";
    const std::string itself = seen.values.empty() ? "" : " AND " + sighted(seen.sql);
    std::vector<Value> values(only.kinds.begin(), only.kinds.end());
    values.insert(values.end(), seen.values.begin(), seen.values.end());
    values.insert(values.end(), seen.values.begin(), seen.values.end());
    values.insert(values.end(), only.kinds.begin(), only.kinds.end());
    add(where, "(v." + of_kind + itself + " OR " + sighted(seen.sql + " AND s." + of_kind) + ")", values);
    return where;
}

bool is_everything(const Filter& only) {
    return only.ids.empty() && only.cameras.empty() && only.kinds.empty() && only.names.empty() &&
           only.plates.empty() && only.runs.empty() && !only.since && !only.until;
}

}  // namespace vreid::gallery

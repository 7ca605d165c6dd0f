// What an open gallery is read for: searches, names, lists and totals, by the statements of
// runtime/gallery/sqlite/store.py.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <system_error>
#include <utility>

#include "camera_bias.hpp"
#include "inside.hpp"
#include "names.hpp"
#include "prototypes.hpp"
#include "text.hpp"
#include "vreid/errors.hpp"

namespace vreid::gallery {
namespace {

/// SQL and its values.
struct Condition {
    std::string sql;
    std::vector<Value> values;
};

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

/// Plates are read with and without spaces and hyphens.
std::string bare(const std::string& text) {
    return "replace(replace(upper(" + text + "), ' ', ''), '-', '')";
}

/// The lists of zones that there are, one step of the index for each, and of them those that name one of
/// `count`.
std::string with_zone(std::size_t count) {
    return "WITH RECURSIVE list (text) AS (SELECT min(zones) FROM sightings WHERE zones NOTNULL UNION ALL"
           " SELECT (SELECT min(zones) FROM sightings WHERE zones > text) FROM list WHERE text NOTNULL)"
           " SELECT text FROM list WHERE EXISTS"
           " (SELECT 1 FROM json_each(CASE WHEN json_valid(text) THEN text END) WHERE value IN (" +
           repeated("?", count, ", ") + "))";
}

/// A condition over a row `s` of sightings; ids, names and kinds are not looked at.
Condition sightings_where(const Filter& only) {
    Condition where{"1", {}};
    add_one_of(where, "s.camera", each(only.cameras, nfc));
    add_one_of(where, "s.run", only.runs);
    add_like(where, bare("s.plate") + " GLOB " + bare("?"), each(only.plates, pattern_of));
    if (!only.zones.empty()) {
        add(where, "s.zones IN (" + with_zone(only.zones.size()) + ")", each(only.zones, nfc));
    }
    if (only.since) add(where, "s.seen >= ?", std::vector<Value>{*only.since});
    if (only.until) add(where, "s.seen < ?", std::vector<Value>{*only.until});
    return where;
}

std::string sighted(const std::string& where) {
    return "EXISTS (SELECT 1 FROM sightings s WHERE s.vehicle = v.id AND " + where + ")";
}

/// A condition over a row `v` of vehicles.
Condition vehicles_where(const Filter& only) {
    Condition where{"1", {}};
    add_one_of(where, "v.id", only.ids);
    add_like(where, "v.key GLOB ?",
             each(only.names, [](const std::string& text) { return pattern_of(key_of(text)); }));
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
           only.plates.empty() && only.runs.empty() && only.zones.empty() && !only.since && !only.until;
}

/// The vehicles that `only` lets through, by rising id.
std::vector<Vehicle> listed(const Database& database, bool thumbnails, const Filter& only) {
    const Condition where = vehicles_where(only);
    std::map<std::int64_t, std::vector<std::string>> cameras;
    Statement seen = database.query(
        "SELECT DISTINCT vehicle, camera FROM sightings WHERE vehicle IN"
        " (SELECT v.id FROM vehicles v WHERE " +
            where.sql + ") ORDER BY vehicle, camera",
        where.values);
    while (seen.next()) cameras[seen.integer(0)].push_back(seen.text(1));
    const std::string picture = thumbnails ? "coalesce(last.thumbnail, v.thumbnail)" : "NULL";
    Statement rows = database.query(
        "SELECT v.id, v.name, v.created, coalesce(v.kind, last.kind),"
        " (SELECT count(*) FROM prototypes WHERE vehicle = v.id),"
        " (SELECT count(*) FROM sightings WHERE vehicle = v.id),"
        " last.last_time, last.seen, last.camera, " +
            picture +
            " FROM vehicles v"
            " LEFT JOIN sightings last ON last.id = (SELECT id FROM sightings WHERE vehicle = v.id"
            " ORDER BY seen DESC, id DESC LIMIT 1)"
            " WHERE " +
            where.sql + " ORDER BY v.id",
        where.values);
    std::vector<Vehicle> found;
    while (rows.next()) {
        Vehicle one;
        one.id = rows.integer(0);
        one.name = rows.text(1);
        one.created = rows.real(2);
        one.kind = rows.maybe_text(3);
        one.prototypes = rows.integer(4);
        one.sightings = rows.integer(5);
        one.cameras = cameras[one.id];
        one.last_seen = rows.maybe_real(6);
        one.last_at = rows.maybe_real(7);
        one.last_camera = rows.maybe_text(8);
        if (!rows.is_null(9)) {
            const Bytes jpeg = rows.bytes(9);
            const auto* begin = static_cast<const std::uint8_t*>(jpeg.data);
            one.thumbnail.assign(begin, begin + jpeg.size);
        }
        found.push_back(std::move(one));
    }
    return found;
}

/// The totals.
Stats counted(const Database& database, const About& about) {
    Statement row = database.query(
        "SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes),"
        " (SELECT count(*) FROM sightings), (SELECT count(DISTINCT camera) FROM sightings),"
        " (SELECT min(seen) FROM sightings), (SELECT max(seen) FROM sightings),"
        " (SELECT CAST(value AS REAL) FROM meta WHERE key = 'retention'),"
        " (SELECT count(*) FROM audit)");
    row.next();
    Stats found;
    found.vehicles = row.integer(0);
    found.prototypes = row.integer(1);
    found.sightings = row.integer(2);
    found.cameras = row.integer(3);
    found.about = about;
    std::error_code gone;
    const auto bytes = std::filesystem::file_size(database.path(), gone);
    found.bytes = gone ? 0 : bytes;
    found.oldest = row.maybe_real(4);
    found.newest = row.maybe_real(5);
    found.retention = row.maybe_real(6);
    found.changes = row.integer(7);
    return found;
}

}  // namespace
}  // namespace vreid::gallery

namespace vreid {
namespace {

std::set<std::int64_t> numbers_of(gallery::Statement rows) {
    std::set<std::int64_t> found;
    while (rows.next()) found.insert(rows.integer(0));
    return found;
}

std::set<std::int64_t> read_on(const gallery::Database& database, const std::vector<std::string>& plates) {
    std::set<std::int64_t> found;
    for (const std::string& plate : plates) {
        found.merge(
            numbers_of(database.query("SELECT DISTINCT vehicle FROM sightings WHERE plate = ?", {plate})));
    }
    return found;
}

}  // namespace

std::vector<std::vector<Hit>> Gallery::search(
    const std::vector<float>& features, std::int64_t k,
    const std::optional<std::vector<std::int64_t>>& vehicles) const {
    if (k < 1) throw Refused("k must be at least 1, not " + std::to_string(k));
    const std::vector<float> rows = unit(features, about().dim);
    const auto turn = inside_->turn();
    const auto found = inside_->index.search(rows, std::min(k, gallery::kLastId), vehicles);
    std::set<std::int64_t> ids;
    for (const auto& best : found) {
        for (const auto& one : best) ids.insert(one.first);
    }
    const auto called = gallery::names_of(*inside_->database, ids);
    std::vector<std::vector<Hit>> hits(found.size());
    for (std::size_t row = 0; row < found.size(); ++row) {
        for (const auto& [vehicle, score] : found[row]) {
            const auto name = called.find(vehicle);  // a reader may be a moment behind its gallery
            hits[row].push_back(
                {vehicle, name != called.end() ? name->second : gallery::given(vehicle), score});
        }
    }
    return hits;
}

std::vector<Hit> Gallery::search_one(const std::vector<float>& feature, std::int64_t k,
                                     const std::optional<std::vector<std::int64_t>>& vehicles) const {
    gallery::refuse_length(feature, about().dim);
    return search(feature, k, vehicles).front();
}

std::vector<float> Gallery::scores(const std::vector<float>& features,
                                   const std::vector<std::int64_t>& vehicles) const {
    const std::vector<float> rows = unit(features, about().dim);
    const auto turn = inside_->turn();
    return inside_->index.scores(rows, vehicles);
}

std::vector<float> Gallery::scores_without_bias(const std::vector<float>& feature, const std::string& camera,
                                                const std::vector<std::int64_t>& vehicles) const {
    gallery::refuse_length(feature, about().dim);
    const auto turn = inside_->turn();
    gallery::Statement kept =
        inside_->database->query("SELECT value FROM meta WHERE key = 'site threshold'", {});
    if (!kept.next()) return scores(feature, vehicles);
    const gallery::CameraBias bias(kept.text(0), about().dim);
    const std::vector<float> plain = bias.removed(unit(feature, about().dim), camera);
    std::vector<float> best;
    for (const std::int64_t vehicle : vehicles) {
        float score = -1;
        for (const Prototype& one : prototypes(vehicle)) {
            const std::vector<float> other = bias.removed(one.feature, one.view);
            score = std::max(score, std::inner_product(plain.begin(), plain.end(), other.begin(), 0.0F));
        }
        best.push_back(score);
    }
    return best;
}

std::string Gallery::name_of(std::int64_t vehicle) const {
    const auto turn = inside_->turn();
    if (vehicle >= 1 && vehicle <= gallery::kLastId) {
        gallery::Statement row =
            inside_->database->query("SELECT name FROM vehicles WHERE id = ?", {vehicle});
        if (row.next()) return row.text(0);
    }
    throw Refused("there is no vehicle " + std::to_string(vehicle) +
                  " in the gallery; the list of vehicles has all");
}

std::int64_t Gallery::find(const std::string& text) const {
    const auto turn = inside_->turn();
    return gallery::found(*inside_->database, text);
}

std::vector<Vehicle> Gallery::vehicles(bool thumbnails, const Filter& only) const {
    const auto turn = inside_->turn();
    return gallery::listed(*inside_->database, thumbnails, only);
}

std::optional<std::vector<std::int64_t>> Gallery::allowed(const Filter& only) const {
    if (gallery::is_everything(only)) return std::nullopt;
    const auto turn = inside_->turn();
    const gallery::Condition where = gallery::vehicles_where(only);
    const auto ids =
        numbers_of(inside_->database->query("SELECT v.id FROM vehicles v WHERE " + where.sql, where.values));
    return std::vector<std::int64_t>(ids.begin(), ids.end());
}

Stats Gallery::stats() const {
    const auto turn = inside_->turn();
    return gallery::counted(*inside_->database, inside_->about);
}

std::vector<Prototype> Gallery::prototypes(std::int64_t vehicle) const {
    const auto turn = inside_->turn();
    std::vector<Prototype> found;
    gallery::Statement rows = inside_->database->query(
        "SELECT id, view, feature, weight, count FROM prototypes WHERE vehicle = ? ORDER BY id", {vehicle});
    while (rows.next()) {
        Prototype one{rows.integer(0), rows.text(1), {}, rows.real(3), rows.integer(4)};
        one.feature.resize(static_cast<std::size_t>(about().dim));
        gallery::copy_feature(rows.bytes(2), about().dim, one.feature.data());
        found.push_back(std::move(one));
    }
    return found;
}

std::vector<std::int64_t> Gallery::with_plates(const std::vector<std::string>& plates) const {
    const auto turn = inside_->turn();
    const auto found = read_on(*inside_->database, plates);
    return {found.begin(), found.end()};
}

std::vector<std::int64_t> Gallery::with_other_plates(const std::vector<std::string>& plates) const {
    if (plates.empty()) return {};
    const auto turn = inside_->turn();
    const auto with_these = read_on(*inside_->database, plates);
    const auto every = numbers_of(
        inside_->database->query("SELECT DISTINCT vehicle FROM sightings WHERE plate IS NOT NULL"));
    std::vector<std::int64_t> others;
    std::set_difference(every.begin(), every.end(), with_these.begin(), with_these.end(),
                        std::back_inserter(others));
    return others;
}

}  // namespace vreid

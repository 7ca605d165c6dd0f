// What an open gallery is asked: searches, names, lists (runtime/gallery/gallery.py).
#include <algorithm>
#include <set>

#include "inside.hpp"
#include "listing.hpp"
#include "names.hpp"
#include "prototypes.hpp"
#include "text.hpp"
#include "vreid/errors.hpp"

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
    const auto found = inside_->following.search(rows, std::min(k, gallery::kLastId), vehicles);
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

std::vector<float> Gallery::scores(const std::vector<float>& features,
                                   const std::vector<std::int64_t>& vehicles) const {
    const std::vector<float> rows = unit(features, about().dim);
    const auto turn = inside_->turn();
    return inside_->following.scores(rows, vehicles);
}

std::string Gallery::name_of(std::int64_t vehicle) const {
    const auto turn = inside_->turn();
    if (vehicle >= 1 && vehicle <= gallery::kLastId) {
        gallery::Statement row =
            inside_->database->query("SELECT name FROM vehicles WHERE id = ?", {vehicle});
        if (row.next()) return row.text(0);
    }
    throw Refused("there is no vehicle " + std::to_string(vehicle) +
                  " in the gallery; 'vreid gallery list' shows them");
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
    const auto ours = read_on(*inside_->database, plates);
    const auto every = numbers_of(
        inside_->database->query("SELECT DISTINCT vehicle FROM sightings WHERE plate IS NOT NULL"));
    std::vector<std::int64_t> others;
    std::set_difference(every.begin(), every.end(), ours.begin(), ours.end(), std::back_inserter(others));
    return others;
}

}  // namespace vreid

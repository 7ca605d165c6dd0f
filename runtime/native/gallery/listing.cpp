// Vehicles and totals, by the statements of runtime/gallery/sqlite/store.py.
#include "listing.hpp"

#include <map>
#include <system_error>

namespace vreid::gallery {

std::vector<Vehicle> listed(const Database& database, bool thumbnails, const Filter& only) {
    const Condition where = vehicles_where(only);
    std::map<std::int64_t, std::vector<std::string>> cameras;
    Statement seen = database.query(
        "SELECT DISTINCT vehicle, camera FROM sightings WHERE vehicle IN (SELECT v.id FROM vehicles v "
        "WHERE " +
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
            " LEFT JOIN sightings last ON last.id = (SELECT max(id) FROM sightings WHERE vehicle = v.id)"
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

Stats counted(const Database& database, const About& about) {
    Statement row = database.query(
        "SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes), (SELECT count(*) FROM "
        "sightings),"
        " (SELECT count(DISTINCT camera) FROM sightings), (SELECT min(seen) FROM sightings),"
        " (SELECT max(seen) FROM sightings), (SELECT CAST(value AS REAL) FROM meta WHERE key = 'retention'),"
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

}  // namespace vreid::gallery

// What an older vreid wrote, by the statements of runtime/gallery/sqlite/schema.py.
#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "audit.hpp"
#include "names.hpp"
#include "store.hpp"
#include "text.hpp"

namespace vreid::gallery {
namespace {

const char* const kColumns = R"(
ALTER TABLE vehicles ADD COLUMN kind TEXT;
ALTER TABLE sightings ADD COLUMN seen REAL NOT NULL DEFAULT 0;
ALTER TABLE sightings ADD COLUMN kind TEXT;
ALTER TABLE sightings ADD COLUMN plate TEXT;
ALTER TABLE sightings ADD COLUMN quality REAL NOT NULL DEFAULT 0;
ALTER TABLE sightings ADD COLUMN feature BLOB;
CREATE INDEX sightings_at ON sightings (seen);
)";

const char* const kNames = R"(
ALTER TABLE vehicles ADD COLUMN key TEXT NOT NULL DEFAULT '';
ALTER TABLE vehicles ADD COLUMN named INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vehicles ADD COLUMN pictured REAL;
UPDATE vehicles SET named = name NOT GLOB 'vehicle-[0-9][0-9][0-9][0-9]*';
UPDATE vehicles SET created = min(created, coalesce((SELECT min(seen) FROM sightings WHERE vehicle = vehicles.id),
 created)) WHERE NOT named;
UPDATE vehicles SET pictured = CASE WHEN named THEN (SELECT min(seen) FROM sightings s WHERE s.vehicle = vehicles.id
 AND s.thumbnail = vehicles.thumbnail) ELSE created END WHERE thumbnail NOTNULL;
)";

double changed(const std::filesystem::path& path) {
    struct stat found {};
    if (::stat(path.c_str(), &found) != 0) return 0;
    return static_cast<double>(found.st_mtim.tv_sec) + 1e-9 * static_cast<double>(found.st_mtim.tv_nsec);
}

std::string schema_of(const Database& database) {
    Statement schema = database.query("SELECT value FROM meta WHERE key = 'schema'");
    return schema.next() ? schema.text(0) : "";
}

/// Every name in NFC with its key; see `fill_keys` of schema.py.
void write_keys(const Database& database) {
    struct Row {
        std::int64_t vehicle;
        std::string old, chosen;
        bool numbered;
    };
    std::vector<Row> rows;
    std::set<std::string> taken;
    {
        Statement found = database.query("SELECT id, name FROM vehicles ORDER BY id");
        while (found.next()) {
            rows.push_back({found.integer(0), found.text(1), "", false});
            taken.insert(key_of(rows.back().old));
        }
    }
    std::set<std::string> used;
    for (Row& row : rows) {
        const std::string normal = nfc(row.old);
        row.chosen = normal;
        for (int number = 2; used.count(key_of(row.chosen)) != 0 ||
                             (row.numbered && taken.count(key_of(row.chosen)) != 0);
             ++number) {
            row.chosen = normal + "-" + std::to_string(number);
            row.numbered = true;
        }
        used.insert(key_of(row.chosen));
    }
    for (const Row& row : rows) {  // out of the way first: one may take a name that another gives up
        if (row.chosen != row.old)
            database.run("UPDATE vehicles SET name = char(0) || id WHERE id = ?", {row.vehicle});
    }
    for (const Row& row : rows) {
        database.run("UPDATE vehicles SET name = ?, key = ? WHERE id = ?",
                     {row.chosen, key_of(row.chosen), row.vehicle});
    }
    database.run("CREATE UNIQUE INDEX vehicles_key ON vehicles (key);");
    for (const Row& row : rows) {
        if (!row.numbered) continue;
        note(database, "vreid", "renumber", row.vehicle,
             {{"from", row.old}, {"to", row.chosen}, {"reason", "upgrade"}});
    }
}

void key_function(sqlite3_context* context, int, sqlite3_value** values) {
    try {
        const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(values[0]));
        const std::string key =
            text == nullptr
                ? std::string()
                : key_of({text, static_cast<std::size_t>(sqlite3_value_bytes(values[0]))});
        sqlite3_result_text64(context, key.data(), key.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    } catch (const std::exception& error) {
        sqlite3_result_error(context, error.what(), -1);
    }
}

}  // namespace

void upgrade(const Database& database) {
    const std::string schema = schema_of(database);
    if (schema != "1" && schema != "2") return;
    // Sightings had no clock time. They get the last that they can have: no retention deletes them too early.
    const std::filesystem::path log = beside(database.path(), "-wal");
    std::error_code none;
    const auto size = std::filesystem::file_size(log, none);  // made empty by opening the gallery
    const double latest = std::max(changed(database.path()), !none && size > 0 ? changed(log) : 0.0);
    database.run("BEGIN IMMEDIATE");
    try {
        if (schema == "1") {
            database.script(std::string(kColumns) + log_tables());
            database.run("UPDATE sightings SET seen = ?", {latest});
        }
        database.script(kNames);
        write_keys(database);
        database.run("UPDATE meta SET value = '3' WHERE key = 'schema'");
        database.run("COMMIT");
    } catch (...) {
        if (database.in_transaction()) database.run("ROLLBACK");
        throw;
    }
}

void see_as_new(const Database& database) {
    if (schema_of(database) != "2") return;
    database.add_function("vreid_key", key_function);
    database.script(R"(
PRAGMA query_only = OFF;
PRAGMA temp_store = MEMORY;
CREATE TEMP VIEW vehicles AS SELECT id, name, vreid_key(name) AS key, created, kind, thumbnail,
 name NOT GLOB 'vehicle-[0-9][0-9][0-9][0-9]*' AS named, NULL AS pictured FROM main.vehicles;
PRAGMA query_only = ON;
)");
}

}  // namespace vreid::gallery

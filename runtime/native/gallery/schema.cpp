// The tables of a gallery, letter by letter those of Python, how the file is made, and how an older one is
// upgraded (runtime/gallery/sqlite/schema.py).
#include "schema.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "names.hpp"
#include "text.hpp"
#include "writing.hpp"

namespace vreid::gallery {
namespace {

constexpr std::int64_t kApplication = 0x76726964;  // "vrid" in the database's header: this file is a gallery
constexpr int kMostDim = 1 << 20;

const char* const kTables = R"(
PRAGMA application_id = 1987209572;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vehicles (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created REAL NOT NULL, kind TEXT, thumbnail BLOB,
    key TEXT NOT NULL DEFAULT '', named INTEGER NOT NULL DEFAULT 0, pictured REAL);
CREATE UNIQUE INDEX vehicles_key ON vehicles (key);
CREATE TABLE prototypes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    view TEXT NOT NULL, feature BLOB NOT NULL, weight REAL NOT NULL, count INTEGER NOT NULL);
CREATE INDEX prototypes_of ON prototypes (vehicle);
CREATE TABLE sightings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, vehicle INTEGER NOT NULL REFERENCES vehicles (id) ON DELETE CASCADE,
    camera TEXT NOT NULL, track INTEGER NOT NULL, first_time REAL NOT NULL, last_time REAL NOT NULL,
    first_frame INTEGER NOT NULL, last_frame INTEGER NOT NULL, score REAL NOT NULL, thumbnail BLOB, run TEXT NOT NULL,
    seen REAL NOT NULL DEFAULT 0, kind TEXT, plate TEXT, quality REAL NOT NULL DEFAULT 0, feature BLOB, zones TEXT);
)";

/// What lists are filtered and sorted by.
const char* const kIndexes = R"(
CREATE INDEX vehicles_list ON vehicles (named, key, kind, created);
CREATE INDEX sightings_of ON sightings (vehicle, camera, seen, kind);
CREATE INDEX sightings_last ON sightings (vehicle, seen);
CREATE INDEX sightings_at ON sightings (seen, id, camera, kind, vehicle);
CREATE INDEX sightings_from ON sightings (camera, seen, id, kind, vehicle);
CREATE INDEX sightings_kind ON sightings (kind, vehicle, seen);
CREATE INDEX sightings_plate ON sightings
    (replace(replace(upper(plate), ' ', ''), '-', ''), seen, id, vehicle, plate, camera, kind) WHERE plate NOTNULL;
CREATE INDEX sightings_zones ON sightings (zones, seen, id, vehicle, camera, kind) WHERE zones NOTNULL;
CREATE INDEX sightings_zones_of ON sightings (vehicle, zones, seen, camera, kind) WHERE zones NOTNULL;
)";

/// The log of changes and the audit, which schema 1 does not have.
const char* const kLogTables = R"(
INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16))));
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT, prototype INTEGER NOT NULL, mark INTEGER NOT NULL DEFAULT (random()));
CREATE TRIGGER changes_bounded AFTER INSERT ON changes WHEN new.id % 4096 = 0 BEGIN
    DELETE FROM changes WHERE id <= new.id - max(100000, (SELECT count(*) FROM prototypes)); END;
CREATE TRIGGER prototype_new AFTER INSERT ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (new.id); END;
CREATE TRIGGER prototype_old AFTER DELETE ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (old.id); END;
CREATE TRIGGER prototype_set AFTER UPDATE ON prototypes BEGIN INSERT INTO changes (prototype) VALUES (new.id); END;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, who TEXT NOT NULL, verb TEXT NOT NULL, vehicle INTEGER,
    detail TEXT NOT NULL, undone INTEGER NOT NULL DEFAULT 0);
)";

/// What was renamed in `folder` survives a loss of power.
void settle(const std::filesystem::path& folder) {
    const int handle = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0)
        throw std::filesystem::filesystem_error("open", std::error_code(errno, std::generic_category()));
    ::fsync(handle);
    ::close(handle);
}

int dim_of(const std::string& text, const std::string& gallery) {
    int dim = 0;
    const auto end = text.data() + text.size();
    const auto [stopped, fault] = std::from_chars(text.data(), end, dim);
    if (fault != std::errc() || stopped != end || dim < 1 || dim > kMostDim) {
        throw Refused(gallery + " is damaged (features of '" + text +
                      "' numbers in its meta table); restore a copy");
    }
    return dim;
}

/// SQLite would take the write-ahead log of a gallery that is gone for the new one's, and bring its vehicles
/// back.
void refuse_stray_log(const std::filesystem::path& path) {
    const std::filesystem::path log = with_suffix(path, "-wal");
    if (std::filesystem::exists(log)) {
        throw Refused(log.string() +
                      " belongs to a gallery that is no longer there; put that gallery back, or remove" +
                      " the log for a new one");
    }
}

}  // namespace

std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix) {
    return path.string() + suffix;
}

About about_of(const Database& database, bool old) {
    const std::string gallery = "the gallery " + database.path().string();
    Statement application = database.query("PRAGMA application_id");
    if (!application.next() || application.integer(0) != kApplication) {
        throw Refused(database.path().string() + " is not a vreid gallery; name another file");
    }
    std::map<std::string, std::string> meta;
    Statement rows = database.query(
        "SELECT key, value FROM meta WHERE key IN ('schema', 'fingerprint', 'dim', 'model')");
    while (rows.next()) meta[rows.text(0)] = rows.text(1);
    const std::string schema = meta.count("schema") != 0 ? meta["schema"] : "none";
    const std::string other = gallery + " has schema " + schema + " and this vreid reads 4; ";
    if (schema == "1" && !old) {
        throw Refused(other + "upgrade it with 'vreid gallery check --gallery " + database.path().string() +
                      " --repair'");
    }
    if (schema != "1" && schema != "2" && schema != "3" && schema != "4") {
        const bool number = !schema.empty() && schema.find_first_not_of("0123456789") == std::string::npos;
        throw Refused(other + (number ? "use a newer vreid" : "restore a copy"));
    }
    for (const char* key : {"fingerprint", "dim", "model"}) {
        if (meta.count(key) == 0) {
            throw Refused(gallery + " is damaged ('" + key + "' in its meta table); restore a copy");
        }
    }
    return {meta["fingerprint"], dim_of(meta["dim"], gallery), meta["model"]};
}

void create(const std::filesystem::path& path, const About& about) {
    const std::filesystem::path temporary = with_suffix(path, ".new");
    refuse_stray_log(path);
    std::error_code ignored;
    try {
        std::filesystem::remove(temporary);
        {
            const Database database = Database::fresh(temporary, path);
            database.script(std::string(kTables) + kIndexes + kLogTables);
            for (const auto& [key, value] :
                 std::map<std::string, std::string>{{"schema", "4"},
                                                    {"fingerprint", about.fingerprint},
                                                    {"dim", std::to_string(about.dim)},
                                                    {"model", about.model}}) {
                database.run("INSERT INTO meta VALUES (?, ?)", {key, value});
            }
            database.run("PRAGMA journal_mode = WAL");
        }
        std::filesystem::rename(temporary, path);
        settle(path.parent_path());
    } catch (const std::filesystem::filesystem_error& error) {
        std::filesystem::remove(temporary, ignored);
        throw Refused("no gallery can be made at " + path.string() + " (" + error.code().message() +
                      "); name a file in a folder you may write");
    } catch (...) {
        std::filesystem::remove(temporary, ignored);
        throw;
    }
}

namespace {

const char* const kColumns = R"(
ALTER TABLE vehicles ADD COLUMN kind TEXT;
ALTER TABLE sightings ADD COLUMN seen REAL NOT NULL DEFAULT 0;
ALTER TABLE sightings ADD COLUMN kind TEXT;
ALTER TABLE sightings ADD COLUMN plate TEXT;
ALTER TABLE sightings ADD COLUMN quality REAL NOT NULL DEFAULT 0;
ALTER TABLE sightings ADD COLUMN feature BLOB;
)";

const char* const kZones = R"(
ALTER TABLE sightings ADD COLUMN zones TEXT;
DROP INDEX IF EXISTS sightings_of;
DROP INDEX IF EXISTS sightings_at;
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
    struct stat found{};
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
        for (int number = 2;
             used.count(key_of(row.chosen)) != 0 || (row.numbered && taken.count(key_of(row.chosen)) != 0);
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
            text == nullptr ? std::string()
                            : key_of({text, static_cast<std::size_t>(sqlite3_value_bytes(values[0]))});
        sqlite3_result_text64(context, key.data(), key.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    } catch (const std::exception& error) {
        sqlite3_result_error(context, error.what(), -1);
    }
}

}  // namespace

void upgrade(const Database& database) {
    const std::string schema = schema_of(database);
    if (schema != "1" && schema != "2" && schema != "3") return;
    // Sightings had no clock time. They get the last that they can have: no retention deletes them too early.
    const std::filesystem::path log = with_suffix(database.path(), "-wal");
    std::error_code missing;
    const auto size = std::filesystem::file_size(log, missing);  // made empty by opening the gallery
    const double latest = std::max(changed(database.path()), !missing && size > 0 ? changed(log) : 0.0);
    database.run("BEGIN IMMEDIATE");
    try {
        if (schema == "1") {
            database.script(std::string(kColumns) + kLogTables);
            database.run("UPDATE sightings SET seen = ?", {latest});
        }
        if (schema != "3") {
            database.script(kNames);
            write_keys(database);
        }
        database.script(std::string(kZones) + kIndexes);
        database.run("UPDATE meta SET value = '4' WHERE key = 'schema'");
        database.run("COMMIT");
    } catch (...) {
        if (database.in_transaction()) database.run("ROLLBACK");
        throw;
    }
}

void begin_numbers(const Database& database) {
    {
        Statement there = database.query("SELECT 1 FROM sqlite_master WHERE name = 'outbox_numbers'");
        if (!there.next()) return;
    }
    const auto next_id = [&](const char* table) -> std::int64_t {
        Statement row = database.query("SELECT seq + 1 FROM sqlite_sequence WHERE name = ?", {table});
        return row.next() ? row.integer(0) : 1;
    };
    const auto is_empty = [&] { return !database.query("SELECT 1 FROM outbox_numbers").next(); };
    database.run("BEGIN IMMEDIATE");
    try {
        const bool first = is_empty();
        const std::int64_t sighting = first ? 0 : next_id("sightings");
        const std::int64_t vehicle = first ? 0 : next_id("vehicles");
        // nothing was written under it
        database.run("DELETE FROM outbox_numbers WHERE sighting = ? AND vehicle = ?", {sighting, vehicle});
        database.run(
            "INSERT INTO outbox_numbers (sighting, vehicle, base) VALUES (?, ?, random() & ((1 << 52) - 1))",
            {sighting, vehicle});
        database.run("COMMIT");
    } catch (...) {
        if (database.in_transaction()) database.run("ROLLBACK");
        throw;
    }
}

void see_as_new(const Database& database) {
    const std::string schema = schema_of(database);
    if (schema != "2" && schema != "3") return;
    database.script(R"(
PRAGMA query_only = OFF;
PRAGMA temp_store = MEMORY;
CREATE TEMP VIEW sightings AS SELECT *, NULL AS zones FROM main.sightings;
)");
    if (schema == "2") {
        database.add_function("vreid_key", key_function);
        database.script(R"(
CREATE TEMP VIEW vehicles AS SELECT id, name, vreid_key(name) AS key, created, kind, thumbnail,
 name NOT GLOB 'vehicle-[0-9][0-9][0-9][0-9]*' AS named, NULL AS pictured FROM main.vehicles;
)");
    }
    database.run("PRAGMA query_only = ON");
}

}  // namespace vreid::gallery

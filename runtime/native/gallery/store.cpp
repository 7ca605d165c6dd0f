// The tables of a gallery, letter by letter those of Python, and how the file comes to be.
#include "store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <system_error>

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
    seen REAL NOT NULL DEFAULT 0, kind TEXT, plate TEXT, quality REAL NOT NULL DEFAULT 0, feature BLOB);
CREATE INDEX sightings_of ON sightings (vehicle, camera);
CREATE INDEX sightings_at ON sightings (seen);
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

}  // namespace

const char* log_tables() {
    return R"(
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
}

std::filesystem::path beside(const std::filesystem::path& path, const char* suffix) {
    return path.string() + suffix;
}

About about_of(const Database& database, bool old) {
    const std::string gallery = "the gallery " + database.path().string();
    Statement application = database.query("PRAGMA application_id");
    if (!application.next() || application.integer(0) != kApplication) {
        throw Refused(database.path().string() + " is not a vreid gallery; name another file");
    }
    std::map<std::string, std::string> meta;
    Statement rows = database.query("SELECT key, value FROM meta");
    while (rows.next()) meta[rows.text(0)] = rows.text(1);
    const std::string schema = meta.count("schema") != 0 ? meta["schema"] : "none";
    const std::string other = gallery + " has schema " + schema + " and this vreid reads 3; ";
    if (schema == "1" && !old) {
        throw Refused(other + "upgrade it with 'vreid gallery check --gallery " + database.path().string() +
                      " --repair'");
    }
    if (schema != "1" && schema != "2" && schema != "3") {
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
    const std::filesystem::path draft = beside(path, ".new");
    refuse_stray_log(path);
    std::error_code ignored;
    try {
        std::filesystem::remove(draft);
        {
            const Database database = Database::fresh(draft, path);
            database.script(std::string(kTables) + log_tables());
            for (const auto& [key, value] :
                 std::map<std::string, std::string>{{"schema", "3"},
                                                    {"fingerprint", about.fingerprint},
                                                    {"dim", std::to_string(about.dim)},
                                                    {"model", about.model}}) {
                database.run("INSERT INTO meta VALUES (?, ?)", {key, value});
            }
            database.run("PRAGMA journal_mode = WAL");
        }
        std::filesystem::rename(draft, path);
        settle(path.parent_path());
    } catch (const std::filesystem::filesystem_error& error) {
        std::filesystem::remove(draft, ignored);
        throw Refused("no gallery can be made at " + path.string() + " (" + error.code().message() +
                      "); name a file in a folder you may write");
    } catch (...) {
        std::filesystem::remove(draft, ignored);
        throw;
    }
}

void refuse_stray_log(const std::filesystem::path& path) {
    const std::filesystem::path log = beside(path, "-wal");
    if (std::filesystem::exists(log)) {
        throw Refused(log.string() +
                      " belongs to a gallery that is no longer there; put that gallery back, or remove" +
                      " the log for a new one");
    }
}

}  // namespace vreid::gallery

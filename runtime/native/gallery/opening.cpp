// Opening a gallery, for reading or as its one writer (runtime/gallery.py).
#include "inside.hpp"
#include "store.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace vreid {
namespace {

namespace fs = std::filesystem;

fs::path resolved(const fs::path& path) {
    std::error_code fault;
    const fs::path found = fs::weakly_canonical(fs::absolute(path), fault);
    return fault ? fs::absolute(path) : found;
}

struct Seen {
    std::unique_ptr<gallery::Database> database;
    About about;
};

Seen looked_at(const fs::path& path, bool old) {
    std::error_code fault;
    if (!fs::is_regular_file(path, fault)) {
        throw Refused("there is no gallery " + path.string() + "; make one with 'vreid gallery enrol'");
    }
    auto database = std::make_unique<gallery::Database>(path, false);
    About about = gallery::about_of(*database, old);
    if (!old) gallery::see_as_new(*database);
    return {std::move(database), std::move(about)};
}

std::string told(const About& about) {
    return "'" + about.model + "' (" + std::to_string(about.dim) + "-d, " + about.fingerprint + ")";
}

void match(const About& found, const About& wanted, const fs::path& path) {
    if (found.fingerprint == wanted.fingerprint && found.dim == wanted.dim) return;
    throw Refused("the gallery " + path.string() + " holds features of the model " + told(found) +
                  ", not of " + told(wanted) + "; use that model or enrol again into a new gallery");
}

}  // namespace

Gallery open_gallery(const fs::path& given, const About& about, bool write, const Rule& rule) {
    const fs::path path = resolved(given);
    if (rule.max_prototypes < 1) {
        throw Refused("max_prototypes must be at least 1, not " + std::to_string(rule.max_prototypes));
    }
    std::error_code fault;
    if (!write || fs::exists(path, fault)) {
        Seen seen = looked_at(path, write);
        match(seen.about, about, path);
        if (!write) {
            return Gallery(
                std::make_unique<Gallery::Inside>(std::move(seen.database), seen.about, rule, nullptr));
        }
    } else if (about.dim < 1) {
        throw Refused("a gallery is of features of 1 number or more, not " + std::to_string(about.dim) +
                      "; pass the model's");
    } else if (!fs::is_directory(path.parent_path(), fault)) {
        throw Refused("there is no folder " + path.parent_path().string() +
                      " for the gallery; make it first");
    }
    auto lock = std::make_unique<gallery::WriterLock>(path);
    if (!fs::exists(path, fault)) gallery::create(path, about);
    auto database = std::make_unique<gallery::Database>(path, true);
    gallery::upgrade(*database);
    const About found = gallery::about_of(*database);
    match(found, about, path);
    database->run("BEGIN IMMEDIATE");  // another program may hold SQLite's own lock
    database->run("ROLLBACK");
    return Gallery(std::make_unique<Gallery::Inside>(std::move(database), found, rule, std::move(lock)));
}

Gallery open_gallery(const fs::path& path, const Manifest& manifest, bool write, const Rule& rule) {
    return open_gallery(path, About{manifest.fingerprint, manifest.output.dim, manifest.name}, write, rule);
}

Gallery read_gallery(const fs::path& given) {
    Seen seen = looked_at(resolved(given), false);
    return Gallery(std::make_unique<Gallery::Inside>(std::move(seen.database), seen.about, Rule{}, nullptr));
}

Gallery edit_gallery(const fs::path& path) {
    const About about = looked_at(resolved(path), true).about;
    return open_gallery(path, about, true);
}

}  // namespace vreid

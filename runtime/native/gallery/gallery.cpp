// A gallery: opening it for reading or as its one writer, transactions, and what is written
// (runtime/gallery/gallery.py).
#include "vreid/gallery.hpp"

#include <algorithm>
#include <cmath>

#include "inside.hpp"
#include "names.hpp"
#include "prototypes.hpp"
#include "schema.hpp"
#include "text.hpp"
#include "vreid/errors.hpp"
#include "writing.hpp"

namespace vreid {
namespace {

/// One level deeper, for as long as it lives.
class Deeper {
 public:
    explicit Deeper(int& depth) : depth_(depth) { ++depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    ~Deeper() { --depth_; }

 private:
    int& depth_;
};

}  // namespace

Gallery::Gallery(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
Gallery::Gallery(Gallery&&) noexcept = default;
Gallery& Gallery::operator=(Gallery&&) noexcept = default;
Gallery::~Gallery() = default;

void Gallery::close() {
    // a forked child has one thread, and the mutex as it was: perhaps held by a thread that is not here
    std::unique_lock<std::recursive_mutex> turn(inside_->mutex, std::defer_lock);
    if (inside_->database->is_owner()) turn.lock();
    inside_->index.close();
    inside_->database->close();
    inside_->lock.reset();
}

const std::filesystem::path& Gallery::path() const { return inside_->database->path(); }
const About& Gallery::about() const { return inside_->about; }
bool Gallery::writable() const { return inside_->writable; }

void Gallery::transaction(const std::function<void()>& body) {
    if (!inside_->writable) {
        throw Refused("the gallery " + path().string() + " was opened for reading; open it for writing");
    }
    const auto turn = inside_->turn();
    const gallery::Database& database = *inside_->database;
    const std::string mark = "level" + std::to_string(inside_->depth);
    const bool outer = inside_->depth == 0;
    const std::string end = outer ? "COMMIT" : "RELEASE " + mark;
    database.run(outer ? "BEGIN IMMEDIATE" : "SAVEPOINT " + mark);
    const std::size_t deleted = inside_->removals.count();
    const Deeper deeper(inside_->depth);
    try {
        body();
        database.run(end);
        if (outer) inside_->index.committed();
    } catch (...) {
        if (database.in_transaction()) {  // SQLite itself rolls back on some errors of the disk
            database.run(outer ? "ROLLBACK" : "ROLLBACK TO " + mark);
            if (!outer) database.run(end);
        }
        inside_->index.rolled_back();
        inside_->removals.rolled_back(deleted);
        throw;
    }
    if (outer) inside_->removals.committed(path());
}

std::int64_t Gallery::add_vehicle(const std::optional<std::string>& name, const cv::Mat& picture,
                                  const std::optional<std::string>& kind) {
    std::int64_t vehicle = 0;
    transaction(
        [&] { vehicle = gallery::add_vehicle(*inside_->database, inside_->who, name, picture, kind); });
    return vehicle;
}

std::optional<std::int64_t> Gallery::add_prototype(std::int64_t vehicle, const std::string& view,
                                                   const std::vector<float>& feature, double weight) {
    if (!std::isfinite(weight) || weight <= 0) {
        throw Refused("a prototype's weight must be above 0, not " + gallery::number_text(weight) +
                      "; pass the crop's quality");
    }
    gallery::refuse_length(feature, about().dim);
    const std::vector<float> row = unit(feature, about().dim);
    const auto blob = [](const std::vector<float>& numbers) {
        return gallery::Bytes{numbers.data(), numbers.size() * sizeof(float)};
    };
    std::optional<std::int64_t> holder;
    transaction([&] {
        const gallery::Database& database = *inside_->database;
        static_cast<void>(name_of(vehicle));
        std::vector<Prototype> kept = prototypes(vehicle);
        const std::string seen_from = gallery::readable(view, "a prototype's view");
        const Prototype* home = gallery::home_of(kept, seen_from, row, inside_->rule.merge_above);
        const auto mean = home != nullptr ? gallery::merged(*home, row, weight) : std::nullopt;
        if (mean) {
            database.run("UPDATE prototypes SET feature = ?, weight = ?, count = ? WHERE id = ?",
                         {blob(mean->feature), mean->weight, mean->count, mean->id});
            holder = mean->id;
            return;
        }
        database.run("INSERT INTO prototypes (vehicle, view, feature, weight, count) VALUES (?, ?, ?, ?, 1)",
                     {vehicle, seen_from, blob(row), weight});
        const std::int64_t made = database.last_id();
        kept.push_back({made, seen_from, row, weight, 1});
        const auto dropped = gallery::surplus(kept, inside_->rule.max_prototypes);
        for (const std::int64_t old : dropped) database.run("DELETE FROM prototypes WHERE id = ?", {old});
        if (std::find(dropped.begin(), dropped.end(), made) == dropped.end()) holder = made;
    });
    return holder;
}

std::int64_t Gallery::add_sighting(std::int64_t vehicle, const Sighting& sighting, double score,
                                   const std::string& run) {
    std::int64_t made = 0;
    transaction([&] {
        static_cast<void>(name_of(vehicle));
        made = gallery::add_sighting(*inside_->database, about().dim, vehicle, sighting, score, run);
    });
    return made;
}

void Gallery::rename(std::int64_t vehicle, const std::string& name) {
    transaction([&] { gallery::rename(*inside_->database, inside_->who, vehicle, name_of(vehicle), name); });
}

void Gallery::remove(std::int64_t vehicle) {
    transaction([&] {
        static_cast<void>(name_of(vehicle));
        gallery::remove(*inside_->database, inside_->removals, inside_->who, vehicle);
    });
}

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
    if (!fs::exists(path, fault)) {
        throw Refused("there is no gallery " + path.string() + "; a run or 'vreid gallery enrol' makes one");
    }
    if (!fs::is_regular_file(path, fault)) {
        throw Refused(path.string() + " is a folder, a pipe or a device and not a gallery; name a file");
    }
    auto database = std::make_unique<gallery::Database>(path, false);
    About about = gallery::about_of(*database, old);
    if (!old) gallery::see_as_new(*database);
    return {std::move(database), std::move(about)};
}

std::string text_of(const About& about) {
    return "'" + about.model + "' (" + std::to_string(about.dim) + "-d, " + about.fingerprint + ")";
}

/// One word of a shell's line, as Python's shlex.quote writes it.
std::string word_of(const std::string& text) {
    static const std::string plain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./-_";
    if (text.find_first_not_of(plain) == std::string::npos) return text;
    std::string word = "'";
    for (const char one : text) word += one == '\'' ? "'\"'\"'" : std::string(1, one);
    return word + "'";
}

void match(const About& found, const About& wanted, const fs::path& path) {
    if (found.fingerprint == wanted.fingerprint && found.dim == wanted.dim) return;
    throw Refused("the gallery " + path.string() + " holds features of the model " + text_of(found) +
                  ", not of " + text_of(wanted) +
                  "; use that model, or embed the pictures that it keeps anew: vreid gallery reindex --gallery " +
                  word_of(path.string()) + " --model MANIFEST.json --out NEW.db");
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
    gallery::begin_numbers(*database);
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

// An open gallery: its transactions and what is written (runtime/gallery/gallery.py).
#include "vreid/gallery.hpp"

#include <algorithm>
#include <cmath>

#include "inside.hpp"
#include "names.hpp"
#include "prototypes.hpp"
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
    if (inside_->database->is_ours()) turn.lock();
    inside_->following.close();
    inside_->database->close();
    inside_->lock.reset();
}

const std::filesystem::path& Gallery::path() const { return inside_->database->path(); }
const About& Gallery::about() const { return inside_->about; }
bool Gallery::writable() const { return inside_->writable; }

void Gallery::set_who(std::string who) {
    const auto turn = inside_->turn();
    inside_->who = std::move(who);
}

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
    const Deeper deeper(inside_->depth);
    try {
        body();
        database.run(end);
        if (outer) inside_->following.settled();
    } catch (...) {
        if (database.in_transaction()) {  // SQLite itself rolls back on some errors of the disk
            database.run(outer ? "ROLLBACK" : "ROLLBACK TO " + mark);
            if (!outer) database.run(end);
        }
        inside_->following.undone();
        throw;
    }
}

void Gallery::reading(const std::function<void()>& body) {
    const auto turn = inside_->turn();
    const gallery::Database& database = *inside_->database;
    if (database.in_transaction()) {
        body();
        return;
    }
    database.run("BEGIN");
    try {
        body();
    } catch (...) {
        database.run("COMMIT");
        throw;
    }
    database.run("COMMIT");
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
        throw Refused("a prototype's weight must be above 0, not " + gallery::told(weight) +
                      "; pass the crop's quality");
    }
    const int dim = about().dim;
    if (feature.size() != static_cast<std::size_t>(dim)) {
        throw Refused("features of shape (1, " + std::to_string(feature.size()) +
                      ") do not fit a gallery of dimension " + std::to_string(dim) +
                      "; use the gallery's own model");
    }
    const std::vector<float> row = unit(feature, dim);
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
    transaction([&] {
        gallery::rename(*inside_->database, inside_->who, vehicle, name_of(vehicle), name);
    });
}

void Gallery::remove(std::int64_t vehicle) {
    transaction([&] {
        static_cast<void>(name_of(vehicle));
        gallery::remove(*inside_->database, inside_->who, vehicle);
    });
}

}  // namespace vreid

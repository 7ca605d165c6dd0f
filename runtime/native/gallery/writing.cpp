// Statements that write, as runtime/gallery/sqlite/store.py has them.
#include "writing.hpp"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <set>
#include <utility>
#include <vector>

#include "names.hpp"
#include "prototypes.hpp"
#include "text.hpp"

namespace vreid::gallery {
namespace {

constexpr double kLastMoment = 1e10;  // seconds since 1970; more are milliseconds or nanoseconds
constexpr int kSide = 160;            // pixels of a thumbnail's longer side
constexpr int kQuality = 85;          // of its JPEG
constexpr float kNear = 1e-3F;  // a feature whose length is so near 1 is of unit length, and kept to the bit

/// Seconds since 1970.
double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// COCO class -> its name, "vehicle" where there is none or it is not a vehicle's.
std::string kind_name(int kind) {
    switch (kind) {
        case 2:
            return "car";
        case 3:
            return "motorcycle";
        case 5:
            return "bus";
        case 7:
            return "truck";
        default:
            return "vehicle";
    }
}

/// BGR -> a JPEG; empty for an empty picture.
std::vector<std::uint8_t> thumbnail_of(const cv::Mat& picture) {
    std::vector<std::uint8_t> jpeg;
    if (picture.empty()) return jpeg;
    if (picture.dims != 2 || picture.type() != CV_8UC3) {
        throw Refused("a vehicle's picture must be in BGR of 8 bits; convert it, or pass none");
    }
    const double scale = std::min(1.0, static_cast<double>(kSide) / std::max(picture.rows, picture.cols));
    cv::Mat small = picture;
    if (scale < 1) {
        const auto side = [scale](int length) {
            return std::max(1, static_cast<int>(std::lrint(length * scale)));
        };
        cv::resize(picture, small, {side(picture.cols), side(picture.rows)}, 0, 0, cv::INTER_AREA);
    }
    if (!cv::imencode(".jpg", small, jpeg, {cv::IMWRITE_JPEG_QUALITY, kQuality})) jpeg.clear();
    return jpeg;
}

Value picture_of(const std::vector<std::uint8_t>& jpeg) {
    return jpeg.empty() ? Value(nullptr) : Value(Bytes{jpeg.data(), jpeg.size()});
}

/// (dim,) float32 -> float16, row by row as they lie in the file.
cv::Mat halved(const std::vector<float>& feature, int dim) {
    refuse_length(feature, dim);
    const std::vector<float> straight = unit(feature, dim);
    const cv::Mat given(1, dim, CV_32F, const_cast<float*>(feature.data()));
    const bool is_unit = std::abs(cv::norm(given) - 1) <= static_cast<double>(kNear);
    cv::Mat half;
    (is_unit ? given : cv::Mat(1, dim, CV_32F, const_cast<float*>(straight.data()))).convertTo(half, CV_16F);
    return half;
}

/// The id of the next vehicle, never used before.
std::int64_t new_id(const Database& database) {
    Statement row = database.query("SELECT seq FROM sqlite_sequence WHERE name = 'vehicles'");
    const std::int64_t last = row.next() ? row.integer(0) : 0;
    if (last >= kLastId) {
        throw Refused("the gallery " + database.path().string() + " has given its last id, " +
                      std::to_string(kLastId) + "; begin a new one");
    }
    return last + 1;
}

/// When it was, in seconds since 1970; this moment where it has none. Refused for what is not such a time.
double moment_of(const Sighting& sighting) {
    if (!(sighting.seen >= 0 && sighting.seen < kLastMoment)) {
        std::array<char, 32> text{};
        std::snprintf(text.data(), text.size(), "%g", sighting.seen);
        throw Refused("a sighting's time must be in seconds since 1970, from 0 to 10000000000, not " +
                      std::string(text.data()) + "; divide milliseconds by 1000 and nanoseconds by 1e9");
    }
    if (!(std::abs(sighting.first_time) < kLastMoment && std::abs(sighting.last_time) < kLastMoment)) {
        throw Refused(
            "a sighting's first_time and last_time must be in seconds on its source's clock, "
            "below 10000000000; divide milliseconds by 1000 and nanoseconds by 1e9");
    }
    return sighting.seen == 0 ? now() : sighting.seen;
}

std::string json_text(const Detail& detail) {
    return detail.dump(-1, ' ', true,
                       Detail::error_handler_t::replace);  // a name was checked; this must not throw
}

Detail detail_of(const Database& database, const std::string& text) {
    Detail detail = Detail::parse(text, nullptr, false);
    if (!detail.is_object()) throw damaged(database.path(), "a change of the audit");
    return detail;
}

/// `vehicle`, and those that were merged into it, and into those, and are vehicles no more.
std::set<std::int64_t> with_merged(const Database& database, std::int64_t vehicle) {
    std::map<std::int64_t, std::vector<std::int64_t>> into;
    Statement merges =
        database.query("SELECT detail FROM audit WHERE verb = 'merge' AND undone = 0 ORDER BY id");
    while (merges.next()) {
        const Detail both = detail_of(database, merges.text(0)).value("vehicles", Detail::array());
        std::vector<std::int64_t> ids;
        for (const Detail& one : both) {
            if (!one.is_number_integer()) throw damaged(database.path(), "a change of the audit");
            ids.push_back(one.get<std::int64_t>());
        }
        if (ids.empty()) continue;
        auto& others = into[ids.front()];
        others.insert(others.end(), ids.begin() + 1, ids.end());
    }
    std::set<std::int64_t> found;
    std::vector<std::int64_t> waiting{vehicle};
    while (!waiting.empty()) {
        const std::int64_t one = waiting.back();
        waiting.pop_back();
        if (!found.insert(one).second) continue;
        const auto& others = into[one];
        waiting.insert(waiting.end(), others.begin(), others.end());
    }
    for (auto one = found.begin(); one != found.end();) {
        const bool is_there = database.query("SELECT 1 FROM vehicles WHERE id = ?", {*one}).next();
        one = is_there && *one != vehicle ? found.erase(one) : std::next(one);
    }
    return found;
}

/// No row holds a name, picture or feature of `vehicle`, or of one that was merged into it, any longer; that
/// there was a change, and whose, stays.
void forget(const Database& database, std::int64_t vehicle) {
    const std::string gone = Detail(with_merged(database, vehicle)).dump();
    std::vector<std::pair<std::int64_t, std::string>> changed;
    {
        Statement rows = database.query(
            "SELECT id, detail FROM audit WHERE vehicle IN (SELECT value FROM json_each(?1)) OR EXISTS"
            " (SELECT 1 FROM json_each(detail, '$.vehicles') WHERE value IN (SELECT value FROM "
            "json_each(?1)))"
            " ORDER BY id",
            {gone});
        while (rows.next()) changed.emplace_back(rows.integer(0), rows.text(1));
    }
    for (const auto& [id, text] : changed) {
        const Detail detail = detail_of(database, text);
        const Detail bare = {{"vehicles", detail.value("vehicles", Detail::array())}, {"forgotten", true}};
        database.run("UPDATE audit SET detail = ? WHERE id = ?", {json_text(bare), id});
    }
}

}  // namespace

std::int64_t add_vehicle(const Database& database, const std::string& who,
                         const std::optional<std::string>& name, const cv::Mat& picture,
                         const std::optional<std::string>& kind) {
    const std::int64_t vehicle = new_id(database);
    const std::string chosen = name ? checked(database, *name) : free_name(database, given(vehicle));
    const std::vector<std::uint8_t> jpeg = thumbnail_of(picture);
    const double moment = now();
    database.run(
        "INSERT INTO vehicles (id, name, key, named, created, kind, pictured, thumbnail)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        {vehicle, chosen, key_of(chosen), std::int64_t{name ? 1 : 0}, moment, value_of(kind),
         name || jpeg.empty() ? Value(nullptr) : Value(moment), picture_of(jpeg)});
    note(database, who, "enrol", vehicle, {{"name", chosen}});
    return vehicle;
}

std::int64_t add_sighting(const Database& database, int dim, std::int64_t vehicle, const Sighting& sighting,
                          double score, const std::string& run) {
    const cv::Mat feature = halved(sighting.feature, dim);
    const std::vector<std::uint8_t> jpeg = thumbnail_of(sighting.picture);
    const double moment = moment_of(sighting);
    if (!std::isfinite(sighting.quality) || std::isnan(score)) {  // -inf: nobody to compare with
        throw Refused(
            "a sighting's score must be a number and its quality a finite one; pass the cosine and "
            "the crop's quality, 0 to 1");
    }
    const std::string camera = readable(sighting.camera, "a sighting's camera");
    Detail zones = Detail::array();
    for (const std::string& zone : sighting.zones) zones.push_back(readable(zone, "a sighting's zone"));
    // Whom nobody named came to be with the first sighting, and so did the picture, whenever it is processed.
    database.run(
        "UPDATE vehicles SET created = min(created, ?1), pictured = min(pictured, ?1) WHERE id = ?2 AND NOT "
        "named AND created > ?1 AND NOT EXISTS (SELECT 1 FROM sightings WHERE vehicle = ?2)",
        {moment, vehicle});
    database.run(
        "INSERT INTO sightings (vehicle, camera, track, first_time, last_time, first_frame, last_frame,"
        " score, thumbnail, run, seen, kind, plate, quality, feature, zones)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        {vehicle, camera, sighting.track, sighting.first_time, sighting.last_time, sighting.first_frame,
         sighting.last_frame, score, picture_of(jpeg), run, moment, kind_name(sighting.kind),
         value_of(sighting.plate), sighting.quality,
         Bytes{feature.data, feature.total() * feature.elemSize()},
         zones.empty() ? Value(nullptr) : Value(zones.dump(-1, ' ', false, Detail::error_handler_t::replace))});
    return database.last_id();
}

void rename(const Database& database, const std::string& who, std::int64_t vehicle, const std::string& old,
            const std::string& name) {
    std::int64_t named = 0;
    {
        Statement row = database.query("SELECT named FROM vehicles WHERE id = ?", {vehicle});
        if (row.next()) named = row.integer(0);
    }
    const std::string chosen = checked(database, name, vehicle);
    if (chosen == old && named != 0) return;
    database.run("UPDATE vehicles SET name = ?, key = ?, named = 1 WHERE id = ?",
                 {chosen, key_of(chosen), vehicle});
    note(database, who, "rename", vehicle,
         {{"from", old}, {"to", chosen}, {"undo", {{"name", old}, {"named", named}}}});
}

void remove(const Database& database, KeptRemovals& removals, const std::string& who, std::int64_t vehicle) {
    {
        Statement rows =
            database.query("SELECT camera, seen, track FROM sightings WHERE vehicle = ?", {vehicle});
        while (rows.next()) removals.add({rows.text(0), rows.real(1), rows.integer(2)});
    }
    database.run("DELETE FROM prototypes WHERE vehicle = ?", {vehicle});
    database.run("DELETE FROM vehicles WHERE id = ?", {vehicle});
    forget(database, vehicle);
    note(database, who, "remove", vehicle, Detail::object());
}

std::string login() {
    for (const char* name : {"LOGNAME", "USER", "LNAME", "USERNAME"}) {
        const char* user = std::getenv(name);
        if (user != nullptr && *user != '\0') return user;
    }
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 4096> room{};
    if (::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found) != 0 || found == nullptr)
        return "unknown";
    return found->pw_name;
}

void note(const Database& database, const std::string& who, const char* verb, std::int64_t vehicle,
          const Detail& detail) {
    database.run("INSERT INTO audit (at, who, verb, vehicle, detail) VALUES (?, ?, ?, ?, ?)",
                 {now(), who, std::string(verb), vehicle, json_text(detail)});
}

}  // namespace vreid::gallery

// The gallery: the world's vehicles in one file, the same SQLite file that the Python of vreid reads and
// writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "vreid/export.hpp"
#include "vreid/manifest.hpp"

namespace vreid {

/// Whose features a gallery holds: the embedding space's fingerprint, its dimension, the model's name.
struct About {
    std::string fingerprint;
    int dim = 0;
    std::string model;
};

/// How features become prototypes: one whose cosine to another of its view is `merge_above` is averaged into
/// it, and beyond `max_prototypes` of a vehicle the lightest goes.
struct Rule {
    int max_prototypes = 8;
    double merge_above = 0.9;
};

/// One finished track, as it is given to the gallery and written down. A track is one camera's, a vehicle is
/// the world's.
struct Sighting {
    std::string camera;
    std::int64_t track = 0;
    std::int64_t first_frame = 0;
    std::int64_t last_frame = 0;
    double first_time = 0;  // seconds on the source's own clock
    double last_time = 0;
    int kind = -1;                     // COCO class or -1
    std::vector<float> feature;        // (dim,) unit length: the quality-weighted mean of its embedded crops
    std::int64_t crops = 0;            // how many were embedded
    double quality = 0;                // of the best crop, 0-1
    cv::Mat picture;                   // the best crop, BGR
    double seen = 0;                   // last_time as seconds since 1970
    std::optional<std::string> plate;  // what an outside reader of licence plates read, if there is one
    std::vector<std::string> zones;    // those of its camera that it crossed
};

/// One vehicle that a search found; the score is the best cosine over its prototypes.
struct Hit {
    std::int64_t vehicle = 0;
    std::string name;
    float score = 0;
};

/// A unit feature (dim,) of a vehicle from one view; `weight` sums the qualities of the `count` it was made
/// of.
struct Prototype {
    std::int64_t id = 0;
    std::string view;
    std::vector<float> feature;
    double weight = 0;
    std::int64_t count = 0;
};

/// One vehicle; `thumbnail` is a JPEG of its newest sighting or its enrolment, empty where there is none.
/// `last_seen` is on its source's own clock, `last_at` the same moment in seconds since 1970.
struct Vehicle {
    std::int64_t id = 0;
    std::string name;
    double created = 0;  // seconds since 1970
    std::optional<std::string> kind;
    std::int64_t prototypes = 0;
    std::int64_t sightings = 0;
    std::vector<std::string> cameras;
    std::optional<double> last_seen;
    std::optional<double> last_at;
    std::optional<std::string> last_camera;
    std::vector<std::uint8_t> thumbnail;
};

/// A gallery in numbers; `bytes` is the size of its file without the write-ahead log. Times are in seconds
/// since 1970, `retention` in seconds.
struct Stats {
    std::int64_t vehicles = 0;
    std::int64_t prototypes = 0;
    std::int64_t sightings = 0;
    std::int64_t cameras = 0;
    About about;
    std::uint64_t bytes = 0;
    std::optional<double> oldest;
    std::optional<double> newest;
    std::optional<double> retention;
    std::int64_t changes = 0;
};

/// What is let through: of several of one field any, of several fields all; empty is everything. `names` and
/// `plates` are patterns with * and ?, in any case. One sighting must pass by camera, time, kind, plate,
/// run and zone at once.
struct Filter {
    std::vector<std::int64_t> ids;
    std::vector<std::string> cameras;
    std::vector<std::string> kinds;
    std::vector<std::string> names;
    std::vector<std::string> plates;
    std::vector<std::string> runs;
    std::vector<std::string> zones;  // any of which the vehicle crossed
    std::optional<double> since;  // seconds since 1970, included
    std::optional<double> until;  // excluded
};

/// An open gallery; made by the functions below. Any thread may call it.
///
/// Every call that writes is on the disk when it returns, unless it is inside `transaction`. The index is
/// made at the first search, and catches up at each with what was written, by whoever it was. Refused where
/// the request cannot be met.
class VREID_API Gallery {
 public:
    Gallery(Gallery&&) noexcept;
    Gallery& operator=(Gallery&&) noexcept;
    ~Gallery();

    /// Let go of the file and of the writer's lock; a second call does nothing.
    void close();

    [[nodiscard]] const std::filesystem::path& path() const;
    [[nodiscard]] const About& about() const;
    [[nodiscard]] bool writable() const;

    /// All that is written inside `body` is kept together, or, when it throws, nothing is, the index
    /// included. Nests.
    void transaction(const std::function<void()>& body);

    /// The new vehicle's id, never used before; without a name it is "vehicle-0001" after its id. `picture`
    /// is BGR or empty.
    std::int64_t add_vehicle(const std::optional<std::string>& name = {}, const cv::Mat& picture = {},
                             const std::optional<std::string>& kind = {});

    /// Let a feature (dim,) stand for `vehicle`, seen from `view` with a quality of `weight` > 0. The
    /// prototype that holds it; none when it was itself the lightest.
    std::optional<std::int64_t> add_prototype(std::int64_t vehicle, const std::string& view,
                                              const std::vector<float>& feature, double weight = 1.0);

    /// Write down where and when `vehicle` was seen, with a small picture; the sighting's id.
    std::int64_t add_sighting(std::int64_t vehicle, const Sighting& sighting, double score,
                              const std::string& run = "");

    /// Give `vehicle` another name, which no other has.
    void rename(std::int64_t vehicle, const std::string& name);

    /// Forget `vehicle`, its prototypes, its sightings and their kept pictures, for good; its id is never
    /// given again. Where a kept picture cannot be removed, that is refused after all else is done.
    void remove(std::int64_t vehicle);

    /// Features (n, dim), of any length but 0 -> for each the best k vehicles (fewer in a small gallery),
    /// falling; of equals the older first. `vehicles`: only these ids, those that the gallery does not hold
    /// passed over.
    [[nodiscard]] std::vector<std::vector<Hit>> search(
        const std::vector<float>& features, std::int64_t k,
        const std::optional<std::vector<std::int64_t>>& vehicles = {}) const;

    /// The same for one feature (dim,): one list.
    [[nodiscard]] std::vector<Hit> search_one(
        const std::vector<float>& feature, std::int64_t k,
        const std::optional<std::vector<std::int64_t>>& vehicles = {}) const;

    /// Features (n, dim) -> (n, vehicles) of the best cosine over each vehicle's prototypes; -1 for one
    /// without any.
    [[nodiscard]] std::vector<float> scores(const std::vector<float>& features,
                                            const std::vector<std::int64_t>& vehicles) const;

    /// A feature (dim,) of a track of `camera` -> `scores` without what all features of a camera have in
    /// common, of the track's camera and of each prototype's, as `vreid run` has learnt it in this gallery;
    /// plain ones where nothing was learnt, or where confirmed pairs showed that raw features find more.
    /// Refused where what was learnt is damaged.
    [[nodiscard]] std::vector<float> scores_without_bias(const std::vector<float>& feature,
                                                         const std::string& camera,
                                                         const std::vector<std::int64_t>& vehicles) const;

    [[nodiscard]] std::string name_of(std::int64_t vehicle) const;

    /// The id of the vehicle that a person calls by name, by id, or by id=ID.
    [[nodiscard]] std::int64_t find(const std::string& text) const;

    /// The vehicles that `only` lets through, by rising id; without `thumbnails` the pictures stay on the
    /// disk.
    [[nodiscard]] std::vector<Vehicle> vehicles(bool thumbnails = true, const Filter& only = {}) const;

    /// The ids that a search through `only` may find; none: all of them.
    [[nodiscard]] std::optional<std::vector<std::int64_t>> allowed(const Filter& only) const;

    [[nodiscard]] Stats stats() const;

    /// What stands for `vehicle`, the oldest first.
    [[nodiscard]] std::vector<Prototype> prototypes(std::int64_t vehicle) const;

    /// The vehicles, by rising id, on which one of these plates was ever read.
    [[nodiscard]] std::vector<std::int64_t> with_plates(const std::vector<std::string>& plates) const;

    /// Those on which plates were read, and none of these; nobody when `plates` is empty.
    [[nodiscard]] std::vector<std::int64_t> with_other_plates(const std::vector<std::string>& plates) const;

    class Inside;
    explicit Gallery(std::unique_ptr<Inside> inside);

 private:
    std::unique_ptr<Inside> inside_;
};

/// The gallery at `path` for features of one embedding space; made when `write` is set and there is none. One
/// writer at a time, any number of readers at the same time, in C++ and Python alike. A refused opening
/// leaves nothing behind.
VREID_API Gallery open_gallery(const std::filesystem::path& path, const About& about, bool write,
                               const Rule& rule = {});

/// The same for the features of `manifest`.
VREID_API Gallery open_gallery(const std::filesystem::path& path, const Manifest& manifest, bool write,
                               const Rule& rule = {});

/// The gallery at `path` for reading, whatever its model.
VREID_API Gallery read_gallery(const std::filesystem::path& path);

/// The gallery at `path` for writing, whatever its model; there must be one.
VREID_API Gallery edit_gallery(const std::filesystem::path& path);

/// Features (n, dim) of any length -> of unit length. Refused for another dim, a NaN, or a zero row.
VREID_API std::vector<float> unit(const std::vector<float>& features, int dim);

}  // namespace vreid

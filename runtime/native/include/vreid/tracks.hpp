// Tracks of your own detector and tracker: which crops are embedded, one feature a track, and its vehicle in
// a gallery.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "vreid/embedder.hpp"
#include "vreid/export.hpp"
#include "vreid/gallery.hpp"
#include "vreid/preprocess.hpp"

namespace vreid {

/// One box of a track in a frame. `track` is the tracker's number, of one vehicle in one camera and never
/// given again; `kind` is a COCO class, or -1.
struct TrackedBox {
    std::int64_t track = 0;
    Box box{};
    int kind = -1;
};

/// A crop is embedded when its track has none, when `period` seconds have passed, or when it is `better`
/// times as good as the best so far; from `most` crops on only when it is better. `margin` grows the box by a
/// share of its sides; boxes smaller than `least` pixels are never embedded.
struct CropRules {
    double period = 0.3;
    double better = 1.25;
    float margin = 0;
    int least = 16;
    std::int64_t most = 100;
};

/// A crop that is worth embedding; `picture` is a copy.
struct TrackCrop {
    std::int64_t track = 0;
    cv::Mat picture;
    double quality = 0;  // 0-1: size, sharpness, and not being cut off by the frame
    double time = 0;
};

/// How tracks are matched with vehicles.
struct TrackRules {
    /// The cosine from which a vehicle is known; take it from the manifest's `match`. It has to be set.
    double threshold = std::numeric_limits<double>::quiet_NaN();
    bool enrol_unknown = false;       // a track that no vehicle matches becomes a new vehicle
    std::optional<bool> learn;        // a known track adds a prototype to its vehicle; none: as enrol_unknown
    std::optional<double> new_below;  // vehicles are new below this score; none: below the threshold
    double margin = 0.25;             // a track is learned from this share of the way from the threshold to 1
    std::string run;                  // written into each sighting
    double began = 0;                 // when the camera's clock was at 0, in seconds since 1970
    double remember_s = 3600;         // for how long it matters where a vehicle was
    /// Compare by `Gallery::scores_without_bias`; the threshold is then to be one for these cosines.
    bool without_camera_bias = false;
    CropRules crops;
};

/// What the gallery knows of a track. Without a vehicle it is unknown, and `score` is that of the best
/// vehicle that it may be; -infinity where there was none to compare with. `known` is false for a vehicle
/// that is new.
struct Match {
    std::optional<std::int64_t> vehicle;
    std::optional<std::string> name;
    double score = -std::numeric_limits<double>::infinity();
    bool known = false;
};

/// The tracks of one camera, as a detector and a tracker of your own give them, and their vehicles in a
/// gallery.
///
/// Each frame goes to `see`, which returns the crops worth embedding; their features go to `add`. When the
/// tracker has lost a track, `end` gives its vehicle and, in a gallery opened for writing, writes the
/// sighting down. The rules and the numbers are those of `vreid run` for one live track: the vehicle of the
/// best cosine of at least the threshold that was not in this camera at the same time as another track. What
/// only Python does: ways between cameras (cameras.toml), and deciding many tracks together.
///
/// Not for several threads at once; objects of several cameras may share a gallery and, taking turns, an
/// embedder. The gallery outlives this. Memory: a feature and a picture for each open track, and some bytes
/// for each track of the last `remember_s` seconds. Refused where a request cannot be met; nothing has
/// changed then.
class VREID_API TrackIdentifier {
 public:
    /// Refused for a threshold outside -1 to 1, or for enrolling into a gallery opened for reading.
    TrackIdentifier(std::string camera, Gallery& gallery, TrackRules rules);

    /// The boxes of a frame (BGR of 8 bits, numbered from 0, `time` in seconds on the camera's clock) -> the
    /// crops to embed. Boxes that are not finite, empty or outside the frame are left out.
    std::vector<TrackCrop> see(const cv::Mat& frame, std::int64_t index, double time,
                               const std::vector<TrackedBox>& boxes);

    /// The features (n, dim) of n crops; those of tracks that have ended are left out.
    void add(const std::vector<TrackCrop>& crops, const std::vector<float>& features);

    /// `see`, the embedding, and `add`; how many crops were embedded.
    std::size_t see(const cv::Mat& frame, std::int64_t index, double time,
                    const std::vector<TrackedBox>& boxes, Embedder& embedder);

    /// The numbers of the open tracks, rising.
    [[nodiscard]] std::vector<std::int64_t> open() const;

    /// What an open track has gathered: its feature is the mean of its crops' features, weighted by the
    /// squares of their qualities. None where no crop of it was embedded.
    [[nodiscard]] std::optional<Sighting> sighting(std::int64_t track) const;

    /// The vehicle of an open track by what it has gathered so far; nothing is written. None as by
    /// `sighting`.
    [[nodiscard]] std::optional<Match> match(std::int64_t track) const;

    /// The track has ended: its vehicle, written down in a gallery opened for writing. `plate` is what a
    /// reader of licence plates read. A track that `goes_on`, such as a parked vehicle's, has ended a part of
    /// itself; its next parts get the same vehicle. None as by `sighting`.
    std::optional<Match> end(std::int64_t track, const std::optional<std::string>& plate = {},
                             bool goes_on = false);

 private:
    struct OpenTrack {
        std::int64_t first_frame = 0, last_frame = 0;
        double first_time = 0, last_time = 0;
        std::map<int, std::int64_t> kinds;
        std::vector<float> total;  // the sum of the weighted features
        std::int64_t crops = 0;
        std::int64_t earlier = 0;  // crops of its earlier parts
        double last_crop = -std::numeric_limits<double>::infinity();
        double best = 0;
        cv::Mat picture;
    };
    /// A track, or a part of one, that was given to a vehicle.
    struct Decided {
        std::int64_t vehicle, track;
        double first, last;
    };

    [[nodiscard]] bool deserves(const OpenTrack& track, const Box& box, double time, double quality) const;
    [[nodiscard]] Match chosen(const Sighting& sighting, const std::vector<float>& feature) const;
    [[nodiscard]] std::vector<float> compared(const std::vector<float>& feature,
                                              const std::vector<std::int64_t>& vehicles) const;
    Match settled(const Sighting& sighting);

    std::string camera_;
    Gallery& gallery_;
    TrackRules rules_;
    std::map<std::int64_t, OpenTrack> open_;
    std::deque<Decided> decided_;  // of the last `remember_s` seconds
};

}  // namespace vreid

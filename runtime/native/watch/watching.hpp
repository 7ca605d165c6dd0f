// One camera's part of a run: its tracker, its open tracks, and what each has gathered. Mirrors
// runtime/watching.py.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "crops.hpp"
#include "vreid/records.hpp"
#include "vreid/tracker.hpp"

namespace vreid::watch {

/// A crop that a track wants embedded.
struct Wanted {
    std::int64_t track;
    cv::Mat crop;  // a copy: the frame may be let go
    double quality;
    double time;
};

/// A track that ended, or a part of one that goes on, and its last box.
struct Ended {
    Sighting sighting;
    Box last{};
};

/// Where in a camera's time something was.
struct Moment {
    std::int64_t frame;
    double time;
};

/// What a track has gathered so far. Of its way only what the decisions need is kept, so that its memory does
/// not grow.
struct OpenTrack {
    explicit OpenTrack(Moment since) : first(since), last(since) {}

    Moment first, last;
    std::int64_t boxes = 0;
    Box box{};                         // the last, of the first LONGEST_TRACE ones
    float middle_x = 0, middle_y = 0;  // of the first box
    float farthest = 0, largest_side = 0;
    std::map<int, std::int64_t> kinds;  // how often each was seen
    std::vector<float> total;           // sum of features weighted by the square of their quality
    std::int64_t crops = 0;
    std::int64_t before = 0;  // crops of its parts that are told
    double last_crop = -std::numeric_limits<double>::infinity();
    double best = 0;
    cv::Mat picture;
    bool far = false;  // it has got as far as the detector asks

    void add(Moment now, const Detection& seen);

    /// How far the middle of the box ever got from where it began, in sides of the largest box (geometric
    /// mean).
    double travel() const;
};

/// Follows the vehicles of one camera; hands out crops to embed and takes their features back.
class Watching {
 public:
    /// A track that has been open for `told_after` seconds is told so far, and goes on as a new part of
    /// itself; `began` is when the camera's clock was at 0, in seconds since 1970.
    Watching(std::string camera, const CropRules& rules, const TrackerRules& tracking, double least_travel,
             double told_after, double began);

    /// Follow the vehicles of a frame; the crops worth embedding.
    std::vector<Wanted> see(const Frame& frame, const Detections& detections);

    /// Add the feature of a crop to its track, weighted by the square of its quality.
    void learn(const Wanted& wanted, const float* feature, std::size_t dim);

    /// The tracks that ended since the last call, were embedded at least once and got as far as the detector
    /// asks, and the parts of those that have been open for long.
    std::vector<Ended> finished();

    /// End every track.
    std::vector<Ended> close();

    std::int64_t frames = 0, ended = 0, embedded = 0, passed_over = 0;

 private:
    std::optional<Ended> told(std::int64_t number, const OpenTrack& track);

    std::string camera_;
    CropRules rules_;
    Tracker tracker_;
    double least_travel_, told_after_, began_;
    std::map<std::int64_t, OpenTrack> open_;
    std::optional<Moment> before_;  // the frame before
};

}  // namespace vreid::watch

// The tracker: detections of one camera become tracks with ids. Mirrors runtime/tracker.py, number by number.
//
// Association in two steps, strong boxes first and weak ones for what is left, as in ByteTrack (Zhang et al.,
// ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022, section 3). Differs:
// overlaps are of buffered boxes, so that a small fast vehicle at 10 frames a second still meets its
// prediction; a pair must also be likely by the Kalman filter; what drove out of the picture is not waited
// for; all times are seconds; there is no appearance.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "vreid/records.hpp"

namespace vreid {

/// strong, weak: boxes scored from `strong` on may start tracks; those from `weak` on may continue confirmed
/// ones. confirm_hits: sightings in a row after which a track has an id and is shown. max_age: seconds that a
/// confirmed track may go unseen, and the longest step the clock may take at once. buffer: share of its own
/// size by which each side of a box is moved out before overlaps are taken; double for a track seen once,
/// whose speed is unknown. least_overlap: of the moved-out boxes of a track and its detection.
struct TrackerRules {
    double strong = 0.5;
    double weak = 0.1;
    int confirm_hits = 2;
    double max_age = 1.0;
    double buffer = 0.3;
    double least_overlap = 0.2;
};

/// The tracks of one camera. Memory is bounded by the boxes of a frame and by `max_age`.
class Tracker {
 public:
    explicit Tracker(const TrackerRules& rules = {});  // Refused for rules that make no sense
    ~Tracker();
    Tracker(Tracker&&) noexcept;
    Tracker& operator=(Tracker&&) noexcept;

    /// Detections of the frame at `time` seconds -> those that belong to confirmed tracks, in the detections'
    /// order.
    //
    /// A clock that stands still, runs backwards or is not finite counts as one usual step, one that jumps
    /// ahead as `max_age`. `picture` is its size: with it, a track that drives out at the rim ends there and
    /// then, and what drives in at the same place a moment later is not taken for it. Empty and not finite
    /// boxes are ignored.
    std::vector<Tracked> update(double time, const Detections& detections,
                                std::optional<cv::Size> picture = std::nullopt);

    /// For the tracks that the last update confirmed at their second sighting: the first one, of the frame
    /// before.
    const std::map<std::int64_t, Detection>& births() const { return births_; }

    /// The ids of confirmed tracks that ended since the last call.
    std::vector<std::int64_t> finished();

    /// End every track; `finished` tells their ids. The tracker may go on, with new ids.
    void close();

 private:
    struct Track;
    using Rows = std::vector<std::size_t>;

    double passed(double time);
    Rows associate(Rows& tracks, const Rows& found, const Detections& detections,
                   std::vector<int>& owner) const;
    bool leaving(const Track& track, cv::Size picture) const;
    void end(const std::vector<bool>& gone, std::vector<int>& owner);
    void start(const Rows& found, const Detections& detections, std::vector<int>& owner);
    void confirm();

    TrackerRules rules_;
    std::vector<Track> tracks_;
    std::map<std::int64_t, Detection> births_;
    std::optional<double> time_;
    double step_;
    std::int64_t last_id_ = 0;
    std::deque<std::int64_t> ended_;
};

}  // namespace vreid

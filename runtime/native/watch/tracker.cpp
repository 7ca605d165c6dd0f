// The tracker's association, births and ends.
#include "vreid/tracker.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "assignment.hpp"
#include "kalman.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr double kFirstStep = 0.1;  // seconds between frames while the clock has told nothing yet
constexpr double kUnlikely = 9.21;  // chi-square of 2 numbers: 99 of 100 true pairs lie below
constexpr double kRim = 0.05;       // a box within this share of its own size of the picture's rim touches it
constexpr double kDriving = 0.25;   // box sizes a second: slower is noise
constexpr std::size_t kEndedKept = 10'000;  // ended ids kept for a caller that never asks for them

bool whole(const Box& box) {
    const bool finite =
        std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) && std::isfinite(box.y2);
    return finite && box.x2 > box.x1 && box.y2 > box.y1;
}

}  // namespace

struct Tracker::Track {
    watch::Filter filter;
    std::int64_t id = 0;  // 0: not confirmed yet
    std::int64_t hits = 1;
    double unseen = 0;  // seconds since the last sighting
    Detection first;
};

Tracker::~Tracker() = default;
Tracker::Tracker(Tracker&&) noexcept = default;
Tracker& Tracker::operator=(Tracker&&) noexcept = default;

Tracker::Tracker(const TrackerRules& rules) : rules_(rules), step_(kFirstStep) {
    std::ostringstream said;
    if (!(0 <= rules.weak && rules.weak <= rules.strong && rules.strong <= 1)) {
        said << "the tracker needs 0 <= weak <= strong <= 1, not weak " << rules.weak << " and strong "
             << rules.strong;
        throw Refused(said.str());
    }
    if (rules.confirm_hits < 1 || !(0 < rules.max_age && rules.max_age < HUGE_VAL)) {
        throw Refused("the tracker needs confirm_hits of at least 1 and a max_age above 0 seconds");
    }
    if (!(0 <= rules.buffer && rules.buffer <= 2) || !(0 < rules.least_overlap && rules.least_overlap < 1)) {
        throw Refused("the tracker needs a buffer from 0 to 2 and a least_overlap between 0 and 1");
    }
}

std::vector<Tracked> Tracker::update(double time, const Detections& detections,
                                     std::optional<cv::Size> picture) {
    const double dt = passed(time);
    Rows confirmed, young;
    for (std::size_t row = 0; row < tracks_.size(); ++row) {
        tracks_[row].filter = watch::predicted(tracks_[row].filter, dt);
        tracks_[row].unseen += dt;
        (tracks_[row].id > 0 ? confirmed : young).push_back(row);
    }
    // scores are float32 and compared as such, as NumPy compares them with a Python number
    const auto least_strong = static_cast<float>(rules_.strong), least_weak = static_cast<float>(rules_.weak);
    Rows strong, weak;
    for (std::size_t row = 0; row < detections.size(); ++row) {
        if (!whole(detections[row].box)) continue;
        if (detections[row].score >= least_strong) {
            strong.push_back(row);
        } else if (detections[row].score >= least_weak) {
            weak.push_back(row);
        }
    }
    std::vector<int> owner(detections.size(), -1);  // detection -> track row
    strong = associate(confirmed, strong, detections, owner);
    strong = associate(young, strong, detections, owner);
    // a weak box continues only what the frame before still showed
    confirmed.erase(std::remove_if(confirmed.begin(), confirmed.end(),
                                   [&](std::size_t row) { return !(tracks_[row].unseen <= 1.5 * dt); }),
                    confirmed.end());
    associate(confirmed, weak, detections, owner);

    for (std::size_t row = 0; row < owner.size(); ++row) {
        if (owner[row] < 0) continue;
        Track& track = tracks_[static_cast<std::size_t>(owner[row])];
        track.filter = watch::corrected(track.filter, detections[row].box);
        ++track.hits;
        track.unseen = 0;
    }
    std::vector<bool> gone(tracks_.size());
    for (std::size_t row = 0; row < tracks_.size(); ++row) {
        const Track& track = tracks_[row];
        const bool missed = track.unseen > 0;
        gone[row] = track.unseen > rules_.max_age || (missed && track.id == 0) ||
                    (picture && missed && leaving(track, *picture));
    }
    end(gone, owner);
    start(strong, detections, owner);
    confirm();
    std::vector<Tracked> shown;
    for (std::size_t row = 0; row < owner.size(); ++row) {
        if (owner[row] < 0) continue;
        const std::int64_t id = tracks_[static_cast<std::size_t>(owner[row])].id;
        if (id > 0) shown.push_back({id, detections[row]});
    }
    return shown;
}

std::vector<std::int64_t> Tracker::finished() {
    std::vector<std::int64_t> ended(ended_.begin(), ended_.end());
    ended_.clear();
    return ended;
}

void Tracker::close() {
    std::vector<int> nobody;
    end(std::vector<bool>(tracks_.size(), true), nobody);
    time_.reset();
}

// Seconds since the last frame, never below a usual step when the clock is wrong, never above `max_age`.
double Tracker::passed(double time) {
    if (!std::isfinite(time)) return step_;
    double gap = time_ ? time - *time_ : step_;
    time_ = time;
    if (gap <= 0) return step_;
    gap = std::min(gap, rules_.max_age);
    if (gap < rules_.max_age) step_ = gap;
    return gap;
}

// Pair tracks with detections, the sum of overlaps the largest; fills `owner`, takes the paired from
// `tracks`, and returns the detections that are left.
Tracker::Rows Tracker::associate(Rows& tracks, const Rows& found, const Detections& detections,
                                 std::vector<int>& owner) const {
    if (tracks.empty() || found.empty()) return found;
    std::vector<double> gated;
    gated.reserve(tracks.size() * found.size());
    for (std::size_t row : tracks) {
        const Track& track = tracks_[row];
        const double share = track.hits > 1 ? rules_.buffer : 2 * rules_.buffer;
        const watch::Corners place = watch::buffered(track.filter.corners(), share);
        for (std::size_t seen : found) {
            const Box& box = detections[seen].box;
            const double overlap = watch::overlap(place, watch::buffered(box, share));
            const bool likely = watch::surprise(track.filter, box) <= kUnlikely;
            gated.push_back(likely && overlap >= rules_.least_overlap ? overlap : 0.0);
        }
    }
    const std::vector<int> pairs =
        watch::assigned(gated, static_cast<int>(tracks.size()), static_cast<int>(found.size()));
    Rows tracks_left, found_left;
    std::vector<bool> taken(found.size());
    for (std::size_t row = 0; row < tracks.size(); ++row) {
        const int column = pairs[row];
        if (column < 0 || gated[row * found.size() + static_cast<std::size_t>(column)] <= 0) {
            tracks_left.push_back(tracks[row]);
            continue;
        }
        taken[static_cast<std::size_t>(column)] = true;
        owner[found[static_cast<std::size_t>(column)]] = static_cast<int>(tracks[row]);
    }
    for (std::size_t column = 0; column < found.size(); ++column) {
        if (!taken[column]) found_left.push_back(found[column]);
    }
    tracks = std::move(tracks_left);
    return found_left;
}

// Whether it touches the picture's rim and moves towards it; a vehicle parked there does not.
bool Tracker::leaving(const Track& track, cv::Size picture) const {
    const watch::Corners box = track.filter.corners();
    const double wide = box.x2 - box.x1, tall = box.y2 - box.y1;
    const double right = track.filter.speed[0], down = track.filter.speed[1];
    return (box.x1 < kRim * wide && right < -kDriving * wide) ||
           (box.y1 < kRim * tall && down < -kDriving * tall) ||
           (box.x2 > picture.width - kRim * wide && right > kDriving * wide) ||
           (box.y2 > picture.height - kRim * tall && down > kDriving * tall);
}

// Drop the tracks of the mask `gone` (none of them is an owner) and move `owner` to the new rows.
void Tracker::end(const std::vector<bool>& gone, std::vector<int>& owner) {
    std::vector<Track> kept;
    std::vector<int> moved(tracks_.size(), -1);
    for (std::size_t row = 0; row < tracks_.size(); ++row) {
        if (!gone[row]) {
            moved[row] = static_cast<int>(kept.size());
            kept.push_back(tracks_[row]);
        } else if (tracks_[row].id > 0) {
            ended_.push_back(tracks_[row].id);
            if (ended_.size() > kEndedKept) ended_.pop_front();
        }
    }
    for (int& row : owner) {
        if (row >= 0) row = moved[static_cast<std::size_t>(row)];
    }
    tracks_ = std::move(kept);
}

void Tracker::start(const Rows& found, const Detections& detections, std::vector<int>& owner) {
    for (std::size_t row : found) {
        owner[row] = static_cast<int>(tracks_.size());
        Track track;
        track.filter = watch::started(detections[row].box);
        track.first = detections[row];
        tracks_.push_back(track);
    }
}

void Tracker::confirm() {
    births_.clear();
    for (Track& track : tracks_) {
        if (track.id != 0 || track.hits < rules_.confirm_hits) continue;
        track.id = ++last_id_;
        if (track.hits == 2) births_[track.id] = track.first;
    }
}

}  // namespace vreid

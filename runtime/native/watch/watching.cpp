// What open tracks gather, and when they are told.
#include "watching.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace vreid::watch {
namespace {

constexpr std::int64_t kLongestTrace =
    50'000;  // boxes looked at of one track, the first: one may be parked for days

}  // namespace

void OpenTrack::add(Moment now, const Detection& seen) {
    last = now;
    ++kinds[seen.kind];
    if (boxes >= kLongestTrace) return;
    box = seen.box;
    const float x = (box.x1 + box.x2) / 2, y = (box.y1 + box.y2) / 2;
    if (boxes++ == 0) {
        middle_x = x;
        middle_y = y;
    }
    const float dx = x - middle_x, dy = y - middle_y;
    farthest = std::max(farthest, std::sqrt(dx * dx + dy * dy));
    largest_side = std::max(largest_side, std::sqrt((box.x2 - box.x1) * (box.y2 - box.y1)));
}

double OpenTrack::travel() const {
    return static_cast<double>(farthest) / std::max(static_cast<double>(largest_side), 1e-6);
}

Watching::Watching(std::string camera, const CropRules& rules, const TrackerRules& tracking,
                   double least_travel, double told_after, double began)
    : camera_(std::move(camera)),
      rules_(rules),
      tracker_(tracking),
      least_travel_(least_travel),
      told_after_(told_after),
      began_(began) {}

std::vector<Wanted> Watching::see(const Frame& frame, const Detections& detections) {
    ++frames;
    const cv::Size size = frame.image.size();  // a live camera may come back with another
    const Moment now{frame.index, frame.time};
    const std::vector<Tracked> tracks = tracker_.update(frame.time, detections, size);
    for (const auto& [number, birth] : tracker_.births()) {
        if (!before_) continue;  // a track is shown from its second sighting on, and told with its first
        open_.insert_or_assign(number, OpenTrack(*before_)).first->second.add(*before_, birth);
    }
    before_ = now;
    std::vector<Wanted> wanted;
    for (const Tracked& one : tracks) {
        OpenTrack& track = open_.try_emplace(one.id, now).first->second;
        track.add(now, one.seen);
        const Box& box = one.seen.box;
        const cv::Mat crop = cut_out(frame.image, box, static_cast<float>(rules_.margin));
        const double since = frame.time - track.last_crop;
        const std::int64_t had = track.crops > 0 ? track.before + track.crops : 0;
        if (!deserves(rules_, box, had, since, ceiling_of(crop, box, size), track.best)) {
            continue;  // sharpness costs more than all else here
        }
        const double quality = quality_of(crop, box, size);
        if (deserves(rules_, box, had, since, quality, track.best)) {
            wanted.push_back({one.id, crop.clone(), quality, frame.time});
        }
    }
    embedded += static_cast<std::int64_t>(wanted.size());
    passed_over += static_cast<std::int64_t>(tracks.size() - wanted.size());
    return wanted;
}

void Watching::learn(const Wanted& wanted, const float* feature, std::size_t dim) {
    const auto found = open_.find(wanted.track);
    if (found == open_.end()) return;
    OpenTrack& track = found->second;
    const double quality = std::max(wanted.quality, 1e-3);
    const auto weight = static_cast<float>(quality * quality);
    track.total.resize(dim, 0.0F);
    for (std::size_t i = 0; i < dim; ++i) track.total[i] += feature[i] * weight;
    ++track.crops;
    track.last_crop = wanted.time;
    if (track.picture.empty() || wanted.quality > track.best) {
        track.best = wanted.quality;
        track.picture = wanted.crop;
    }
}

std::vector<Ended> Watching::finished() {
    std::vector<Ended> done;
    for (std::int64_t number : tracker_.finished()) {
        const auto found = open_.find(number);
        if (found == open_.end()) continue;
        if (auto ended_track = told(number, found->second)) done.push_back(std::move(*ended_track));
        open_.erase(found);
    }
    for (auto& [number, track] : open_) {
        if (track.last.time - track.first.time < told_after_) continue;
        auto part = told(number, track);
        if (!part) continue;
        done.push_back(std::move(*part));
        OpenTrack rest(track.last);
        rest.far = true;
        rest.before = track.before + track.crops;
        rest.best = track.best;
        track = std::move(rest);
    }
    return done;
}

std::vector<Ended> Watching::close() {
    tracker_.close();
    return finished();
}

std::optional<Ended> Watching::told(std::int64_t number, const OpenTrack& track) {
    const bool far = track.far || least_travel_ <= 0 || track.travel() >= least_travel_;
    if (!far || track.total.empty() || track.boxes == 0) return std::nullopt;
    ++ended;
    Ended done;
    done.last = track.box;
    Sighting& said = done.sighting;
    said.camera = camera_;
    said.track = number;
    said.first_frame = track.first.frame;
    said.last_frame = track.last.frame;
    said.first_time = track.first.time;
    said.last_time = track.last.time;
    // the most frequent, of equals the smaller
    said.kind = std::max_element(track.kinds.begin(), track.kinds.end(), [](const auto& a, const auto& b) {
                    return a.second < b.second;
                })->first;
    double sum = 0;
    for (float x : track.total) sum += static_cast<double>(x) * static_cast<double>(x);
    const auto length = static_cast<float>(std::max(std::sqrt(sum), 1e-12));
    for (float x : track.total) said.feature.push_back(x / length);
    said.crops = track.crops;
    said.quality = track.best;
    said.picture = track.picture;
    said.seen = began_ + track.last.time;
    return done;
}

}  // namespace vreid::watch

// The rules of crops, pooled features and identities of one live track: runtime/camera_pipeline.py and
// runtime/identify.py. Both languages are held to tests/data/tracks/tracks.json.
#include "vreid/tracks.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "text.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr float kEdge = 2;  // pixels from the frame's border at which a vehicle counts as cut off
constexpr double kFullSize =
    96;  // pixels of a crop (geometric mean of its sides) that no larger one surpasses

/// The quality that a crop would have if it were perfectly sharp: costs nothing, since no pixel is looked at.
double ceiling_of(cv::Size crop, const Box& box, cv::Size frame) {
    const double size = std::min(1.0, std::sqrt(static_cast<double>(crop.area())) / kFullSize);
    const bool inside = box.x1 > kEdge && box.y1 > kEdge &&
                        box.x2 < static_cast<float>(frame.width) - kEdge &&
                        box.y2 < static_cast<float>(frame.height) - kEdge;
    return size * (inside ? 1.0 : 0.3);
}

/// 0-1: the Laplacian's variance at 64 x 64, so that sharpness does not depend on size, times the ceiling.
double quality_of(const cv::Mat& crop, double ceiling) {
    cv::Mat gray, small, edges, mean, deviation;
    cv::cvtColor(crop, gray, cv::COLOR_BGR2GRAY);
    cv::resize(gray, small, cv::Size(64, 64), 0, 0, cv::INTER_AREA);
    cv::Laplacian(small, edges, CV_32F);
    cv::meanStdDev(edges, mean, deviation);
    const double detail = deviation.at<double>(0) * deviation.at<double>(0);
    return ceiling * (0.5 + 0.5 * detail / (detail + 200));
}

/// `box` clipped to the frame; none where it is not finite, has no area or lies outside (runtime/records.py,
/// `inside`).
std::optional<Box> clipped(const Box& box, cv::Size frame) {
    for (const float side : {box.x1, box.y1, box.x2, box.y2}) {
        if (!std::isfinite(side)) return std::nullopt;
    }
    const auto width = static_cast<float>(frame.width), height = static_cast<float>(frame.height);
    const Box found{std::clamp(box.x1, 0.0F, width), std::clamp(box.y1, 0.0F, height),
                    std::clamp(box.x2, 0.0F, width), std::clamp(box.y2, 0.0F, height)};
    return found.x2 > found.x1 && found.y2 > found.y1 ? std::optional(found) : std::nullopt;
}

}  // namespace

TrackIdentifier::TrackIdentifier(std::string camera, Gallery& gallery, TrackRules rules)
    : camera_(std::move(camera)), gallery_(gallery), rules_(std::move(rules)) {
    const double threshold = rules_.threshold;
    const double new_below = rules_.new_below.value_or(threshold);
    if (!(-1 <= threshold && threshold <= 1)) {
        throw Refused("a threshold is a cosine from -1 to 1, not " + gallery::number_text(threshold) +
                      "; take it from the manifest's match");
    }
    if (!(-1 <= new_below && new_below <= threshold)) {
        throw Refused("vehicles are new below a score from -1 to the threshold " +
                      gallery::number_text(threshold) + ", not " + gallery::number_text(new_below));
    }
    rules_.learn = rules_.learn.value_or(rules_.enrol_unknown);
    if ((rules_.enrol_unknown || *rules_.learn) && !gallery.writable()) {
        throw Refused("the gallery was opened for reading and cannot learn or enrol; open it for writing");
    }
}

std::vector<TrackCrop> TrackIdentifier::see(const cv::Mat& frame, std::int64_t index, double time,
                                            const std::vector<TrackedBox>& boxes) {
    if (frame.empty() || frame.dims != 2 || frame.type() != CV_8UC3) {
        throw Refused("a frame must be a picture in BGR of 8 bits; convert it");
    }
    if (!std::isfinite(time))
        throw Refused("a frame's time is NaN or infinite; pass seconds on the camera's clock");
    std::vector<TrackCrop> crops;
    for (const TrackedBox& one : boxes) {
        const std::optional<Box> box = clipped(one.box, frame.size());
        if (!box) continue;
        const auto [found, is_new] = open_.try_emplace(one.track);
        OpenTrack& track = found->second;
        if (is_new) std::tie(track.first_frame, track.first_time) = std::tuple(index, time);
        std::tie(track.last_frame, track.last_time) = std::tuple(index, time);
        ++track.kinds[one.kind];
        const cv::Mat crop = cut_out(frame, *box, rules_.crops.margin);
        const double ceiling = ceiling_of(crop.size(), *box, frame.size());
        if (!deserves(track, *box, time, ceiling))
            continue;  // measuring sharpness costs more than all else here
        const double quality = quality_of(crop, ceiling);
        if (deserves(track, *box, time, quality)) crops.push_back({one.track, crop.clone(), quality, time});
    }
    return crops;
}

/// Rises with `quality`: what is not deserved at the ceiling is not deserved at all.
bool TrackIdentifier::deserves(const OpenTrack& track, const Box& box, double time, double quality) const {
    const CropRules& rules = rules_.crops;
    if (std::min(box.x2 - box.x1, box.y2 - box.y1) < static_cast<float>(rules.least)) return false;
    const std::int64_t embedded = track.crops == 0 ? 0 : track.earlier + track.crops;
    const bool is_due = embedded == 0 || (time - track.last_crop >= rules.period && embedded < rules.most);
    return is_due || quality > rules.better * track.best;
}

void TrackIdentifier::add(const std::vector<TrackCrop>& crops, const std::vector<float>& features) {
    const auto dim = static_cast<std::size_t>(gallery_.about().dim);
    if (features.size() != crops.size() * dim) {
        throw Refused(std::to_string(crops.size()) + " crops have features of " + std::to_string(dim) +
                      " numbers each, and " + std::to_string(features.size()) +
                      " numbers were given; use the gallery's own model");
    }
    if (!std::all_of(features.begin(), features.end(), [](float number) { return std::isfinite(number); })) {
        throw Refused("a crop's feature contains NaN or infinite numbers; export or build the model again");
    }
    auto feature = features.begin();
    for (const TrackCrop& crop : crops) {
        const auto begin = std::exchange(feature, feature + static_cast<std::ptrdiff_t>(dim));
        const auto found = open_.find(crop.track);
        if (found == open_.end()) continue;
        OpenTrack& track = found->second;
        const double quality = std::max(crop.quality, 1e-3);
        const auto weight = static_cast<float>(quality * quality);
        track.total.resize(dim, 0.0F);
        std::transform(track.total.begin(), track.total.end(), begin, track.total.begin(),
                       [weight](float sum, float number) { return sum + number * weight; });
        ++track.crops;
        track.last_crop = crop.time;
        if (track.picture.empty() || crop.quality > track.best) {
            track.best = crop.quality;
            track.picture = crop.picture;
        }
    }
}

std::size_t TrackIdentifier::see(const cv::Mat& frame, std::int64_t index, double time,
                                 const std::vector<TrackedBox>& boxes, Embedder& embedder) {
    const std::vector<TrackCrop> crops = see(frame, index, time, boxes);
    std::vector<cv::Mat> pictures;
    for (const TrackCrop& crop : crops) pictures.push_back(crop.picture);
    add(crops, embedder.embed(pictures));
    return crops.size();
}

std::vector<std::int64_t> TrackIdentifier::open() const {
    std::vector<std::int64_t> numbers;
    for (const auto& one : open_) numbers.push_back(one.first);
    return numbers;
}

std::optional<Sighting> TrackIdentifier::sighting(std::int64_t number) const {
    const auto found = open_.find(number);
    if (found == open_.end() || found->second.total.empty()) return std::nullopt;
    const OpenTrack& track = found->second;
    Sighting made;
    made.camera = camera_;
    made.track = number;
    made.first_frame = track.first_frame;
    made.last_frame = track.last_frame;
    made.first_time = track.first_time;
    made.last_time = track.last_time;
    made.kind =
        std::max_element(track.kinds.begin(), track.kinds.end(), [](const auto& one, const auto& other) {
            return one.second < other.second;  // of equals the smaller class
        })->first;
    double sum = 0;
    for (const float number_of : track.total)
        sum += static_cast<double>(number_of) * static_cast<double>(number_of);
    const auto length = static_cast<float>(std::max(std::sqrt(sum), 1e-12));
    for (const float part : track.total) made.feature.push_back(part / length);
    made.crops = track.crops;
    made.quality = track.best;
    made.picture = track.picture;
    made.seen = rules_.began + track.last_time;
    return made;
}

std::optional<Match> TrackIdentifier::match(std::int64_t track) const {
    const std::optional<Sighting> found = sighting(track);
    if (!found) return std::nullopt;
    return chosen(*found, unit(found->feature, gallery_.about().dim));
}

std::optional<Match> TrackIdentifier::end(std::int64_t track, const std::optional<std::string>& plate,
                                          bool goes_on) {
    std::optional<Sighting> found = sighting(track);
    std::optional<Match> match;
    if (found) {
        found->plate = plate;
        match = settled(*found);
    }
    if (!goes_on) {
        open_.erase(track);
    } else if (found) {
        OpenTrack next;
        next.first_frame = next.last_frame = found->last_frame;
        next.first_time = next.last_time = found->last_time;
        next.earlier = open_.at(track).earlier + found->crops;
        next.best = found->quality;
        open_.at(track) = std::move(next);
    }
    return match;
}

/// The vehicle that a track is: that of an earlier part or of the same plate comes before all others and
/// needs no threshold; those of another plate are left out, and so is one that was in this camera at the same
/// time.
Match TrackIdentifier::chosen(const Sighting& sighting, const std::vector<float>& feature) const {
    std::map<std::int64_t, std::string> names;
    for (std::int64_t k = rules_.without_camera_bias ? 32 : 8;; k *= 4) {  // until every vehicle that reaches the threshold is among them
        const std::vector<Hit> hits = gallery_.search_one(feature, k);
        for (const Hit& hit : hits) names.emplace(hit.vehicle, hit.name);
        if (static_cast<std::int64_t>(hits.size()) < k ||
            static_cast<double>(hits.back().score) < rules_.threshold)
            break;
    }
    Filter part;
    for (const Decided& one : decided_) {
        if (one.track == sighting.track) part.ids = {one.vehicle};
    }
    if (!part.ids.empty()) part.ids = *gallery_.allowed(part);  // without one that was removed meanwhile
    std::set<std::int64_t> sure(part.ids.begin(), part.ids.end());
    if (sighting.plate) {
        for (const std::int64_t vehicle : gallery_.with_other_plates({*sighting.plate})) names.erase(vehicle);
        for (const std::int64_t vehicle : gallery_.with_plates({*sighting.plate})) sure.insert(vehicle);
    }
    for (const std::int64_t vehicle : sure) names.emplace(vehicle, "");
    std::vector<std::int64_t> vehicles;
    for (const auto& one : names) vehicles.push_back(one.first);
    const std::vector<float> scores = compared(feature, vehicles);
    std::vector<std::tuple<bool, double, std::int64_t>> candidates;  // unsure, falling score, vehicle
    for (std::size_t at = 0; at < vehicles.size(); ++at) {
        candidates.emplace_back(sure.count(vehicles[at]) == 0, -static_cast<double>(scores[at]),
                                vehicles[at]);
    }
    std::sort(candidates.begin(), candidates.end());
    const auto was_another = [&](std::int64_t vehicle) {  // track of this camera at the same time
        return std::any_of(decided_.begin(), decided_.end(), [&](const Decided& one) {
            return one.vehicle == vehicle && one.track != sighting.track && one.first <= sighting.last_time &&
                   sighting.first_time <= one.last;
        });
    };
    const auto best = std::find_if(candidates.begin(), candidates.end(),
                                   [&](const auto& one) { return !was_another(std::get<2>(one)); });
    if (best == candidates.end()) return {};
    const auto [unsure, falling, vehicle] = *best;
    if (unsure && -falling < rules_.threshold) return {std::nullopt, std::nullopt, -falling, false};
    const std::string& name = names.at(vehicle);
    return {vehicle, name.empty() ? gallery_.name_of(vehicle) : name, -falling, true};
}

/// The best cosine of each vehicle, by the rule's way of comparing.
std::vector<float> TrackIdentifier::compared(const std::vector<float>& feature,
                                             const std::vector<std::int64_t>& vehicles) const {
    if (vehicles.empty()) return {};
    return rules_.without_camera_bias ? gallery_.scores_without_bias(feature, camera_, vehicles)
                                      : gallery_.scores(feature, vehicles);
}

/// The vehicle of a track that has ended, new ones and the writing included.
Match TrackIdentifier::settled(const Sighting& sighting) {
    const std::vector<float> feature = unit(sighting.feature, gallery_.about().dim);
    Match match;
    const auto decide = [&] {
        match = chosen(sighting, feature);
        bool is_learned = false;
        if (match.vehicle &&
            *rules_.learn) {  // one that only just passed would let the vehicle drift into another
            const double enough = rules_.threshold + rules_.margin * (1 - rules_.threshold);
            is_learned = static_cast<double>(compared(feature, {*match.vehicle}).front()) >= enough;
        } else if (!match.vehicle && rules_.enrol_unknown &&
                   match.score < rules_.new_below.value_or(rules_.threshold)) {
            match.vehicle = gallery_.add_vehicle({}, sighting.picture);
            match.name = gallery_.name_of(*match.vehicle);
            is_learned = true;
        }
        if (!match.vehicle || !gallery_.writable()) return;
        if (is_learned)
            gallery_.add_prototype(*match.vehicle, camera_, feature, std::max(sighting.quality, 0.01));
        gallery_.add_sighting(*match.vehicle, sighting, match.score, rules_.run);
    };
    gallery_.writable() ? gallery_.transaction(decide) : decide();
    if (match.vehicle)
        decided_.push_back({*match.vehicle, sighting.track, sighting.first_time, sighting.last_time});
    while (!decided_.empty() && decided_.front().last < sighting.last_time - rules_.remember_s)
        decided_.pop_front();
    return match;
}

}  // namespace vreid

// What is remembered of where vehicles were.
#include "presence.hpp"

#include <algorithm>
#include <set>

namespace vreid::watch {

Span span_of(const Sighting& sighting) {
    const double offset = sighting.seen != 0 ? sighting.seen - sighting.last_time : 0.0;
    return {sighting.camera, sighting.track, sighting.first_time + offset, sighting.last_time + offset};
}

bool apart(const Span& one, const Span& other) {
    return one.camera == other.camera && one.track != other.track && one.first <= other.last &&
           other.first <= one.last;
}

void Presence::put(std::int64_t vehicle, const Sighting& sighting) {
    parts_[{sighting.camera, sighting.track}] = vehicle;
    remember(vehicle, span_of(sighting));
}

void Presence::remember(std::int64_t vehicle, const Span& span) {
    spans_[vehicle].push_back(span);
    const auto newest = newest_.try_emplace(span.camera, span.last).first;
    newest->second = std::max(newest->second, span.last);
    if (++since_swept_ >= 1000) sweep();
}

std::optional<std::int64_t> Presence::part_of(const Sighting& sighting) const {
    const auto found = parts_.find({sighting.camera, sighting.track});
    if (found == parts_.end()) return std::nullopt;
    return found->second;
}

bool Presence::bars(std::int64_t vehicle, const Sighting& sighting) const {
    const auto found = spans_.find(vehicle);
    if (found == spans_.end()) return false;
    const Span now = span_of(sighting);
    return std::any_of(found->second.begin(), found->second.end(),
                       [&](const Span& span) { return apart(span, now); });
}

void Presence::sweep() {
    std::set<std::pair<std::string, std::int64_t>> tracks;
    for (auto vehicle = spans_.begin(); vehicle != spans_.end();) {
        std::vector<Span>& spans = vehicle->second;
        const auto old = [this](const Span& span) { return span.last < newest_.at(span.camera) - remember_; };
        spans.erase(std::remove_if(spans.begin(), spans.end(), old), spans.end());
        for (const Span& span : spans) tracks.emplace(span.camera, span.track);
        vehicle = spans.empty() ? spans_.erase(vehicle) : std::next(vehicle);
    }
    for (auto part = parts_.begin(); part != parts_.end();) {
        part = tracks.count(part->first) == 0 ? parts_.erase(part) : std::next(part);
    }
    since_swept_ = 0;
}

}  // namespace vreid::watch

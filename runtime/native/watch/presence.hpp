// Where vehicles were lately, so that none is in two places of one camera at once. Mirrors
// runtime/presence.py for a run without a cameras.toml: two tracks of one camera at one moment are two
// vehicles, and everything else is possible.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vreid/records.hpp"

namespace vreid::watch {

/// A track's time in one camera, both ends included, in seconds; spans of two cameras are on one clock.
struct Span {
    std::string camera;
    std::int64_t track;
    double first, last;
};

/// Of one camera on its own clock; where `seen` is known, on the world's.
Span span_of(const Sighting& sighting);

/// Whether two tracks cannot be one vehicle's. A track is not apart from itself.
bool apart(const Span& one, const Span& other);

/// The spans given to each vehicle in the last `remember_s` seconds of each camera: bounded memory for ever.
class Presence {
 public:
    explicit Presence(double remember_s = 3600.0) : remember_(remember_s) {}

    /// Remember that this track was given to `vehicle`.
    void put(std::int64_t vehicle, const Sighting& sighting);

    /// `vehicle` was there.
    void remember(std::int64_t vehicle, const Span& span);

    /// The vehicle that an earlier part of this track was given to.
    std::optional<std::int64_t> part_of(const Sighting& sighting) const;

    /// Whether `vehicle` was where it cannot have been and be this track too.
    bool bars(std::int64_t vehicle, const Sighting& sighting) const;

 private:
    void sweep();

    double remember_;
    std::map<std::int64_t, std::vector<Span>> spans_;
    std::map<std::string, double> newest_;
    std::map<std::pair<std::string, std::int64_t>, std::int64_t>
        parts_;  // the vehicle of a track, for its next parts
    int since_swept_ = 0;
};

}  // namespace vreid::watch

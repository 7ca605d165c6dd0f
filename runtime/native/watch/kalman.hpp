// Constant-velocity Kalman filters for boxes, in seconds instead of frames. Mirrors runtime/kalman.py.
//
// State and idea as in SORT (Bewley et al., Simple Online and Realtime Tracking, ICIP 2016, section 3.2).
// Differs: the state is centre, width and height each with its own speed, and the noise is white
// acceleration, so that a step may take any time. The noises of the four are independent, so each is a filter
// of two numbers and no matrix is inverted.
#pragma once

#include <array>

#include "boxes.hpp"

namespace vreid::watch {

constexpr double kSight = 0.04;  // standard deviation of a detected box, in box sizes
constexpr double kStart = 8.0;   // of the unknown speed of a new track, in box sizes a second
constexpr double kPush = 2.0;    // of the white acceleration, in box sizes a second over a square-root second

using Four = std::array<double, 4>;  // cx cy w h

/// One box: where it is, how fast it goes, and the covariance of the two.
struct Filter {
    Four place{}, speed{}, pp{}, pv{}, vv{};

    Corners corners() const;
};

Filter started(const Box& box);                           // at rest, its speed unknown
Filter predicted(const Filter& filter, double dt);        // a time dt > 0 later
Filter corrected(const Filter& filter, const Box& seen);  // by what was seen of it

/// Squared Mahalanobis distance of the centres, a chi-square of 2.
double surprise(const Filter& filter, const Box& seen);

}  // namespace vreid::watch

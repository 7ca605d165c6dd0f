// Crops worth embedding: how good one is, and when a track deserves another. Mirrors runtime/crops.py.
#pragma once

#include <limits>
#include <opencv2/core.hpp>

#include "vreid/records.hpp"

namespace vreid::watch {

/// A crop is embedded when its track has none, when `period` seconds have passed, or when it is `better`
/// times as good as the best so far; from `most` crops on, as of a vehicle parked for days, only when it is
/// better. `margin` grows the box by a share of its sides; smaller boxes than `least` pixels are never
/// embedded.
struct CropRules {
    double period = 0.3;
    double better = 1.25;
    double margin = 0.0;
    int least = 16;
    std::int64_t most = 100;
};

inline CropRules smart() { return {}; }
inline CropRules every() { return {0.0, 1.25, 0.0, 16, std::numeric_limits<std::int64_t>::max()}; }

/// The quality that the crop would have if it were perfectly sharp: costs nothing, since no pixel is looked
/// at.
double ceiling_of(const cv::Mat& crop, const Box& box, cv::Size frame);

/// 0-1 of a crop with `box` in a `frame`: size, sharpness, and not being cut off by the border. Size
/// saturates at 96 pixels (geometric mean of the sides); sharpness is the Laplacian's variance at 64 x 64, so
/// that it does not depend on size.
double quality_of(const cv::Mat& crop, const Box& box, cv::Size frame);

/// Whether a crop is embedded; `since` is the time in seconds since the track's last embedded crop. Rises
/// with `quality`: what is not deserved at the ceiling is not deserved at all.
bool deserves(const CropRules& rules, const Box& box, std::int64_t embedded, double since, double quality,
              double best);

}  // namespace vreid::watch

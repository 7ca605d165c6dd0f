// Boxes: overlaps and non-maximum suppression. A box is x1 y1 x2 y2 in pixels. Mirrors runtime/boxes.py.
#pragma once

#include <vector>

#include "vreid/records.hpp"

namespace vreid::watch {

/// A box in double precision: a prediction, or a detection before it is compared with one.
struct Corners {
    double x1, y1, x2, y2;
};

inline Corners corners_of(const Box& box) { return {box.x1, box.y1, box.x2, box.y2}; }

/// Intersection over union; two empty boxes overlap by 0.
double overlap(const Corners& one, const Corners& other);

/// Each side moved out by `share` of the box's own width or height.
/// Buffered IoU: Yang et al., Hard to Track Objects with Irregular Motions and Similar Appearances, WACV
/// 2023.
Corners buffered(const Corners& box, double share);
Corners buffered(const Box& box, double share);  // in float32 like the detection itself, as NumPy does

/// Greedy non-maximum suppression: what is kept, scores falling; of equal scores the first stays.
Detections strongest(Detections found, double iou);

}  // namespace vreid::watch

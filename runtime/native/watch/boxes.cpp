// Overlaps of boxes and non-maximum suppression.
#include "boxes.hpp"

#include <algorithm>
#include <limits>

namespace vreid::watch {

double overlap(const Corners& one, const Corners& other) {
    const double width = std::max(0.0, std::min(one.x2, other.x2) - std::max(one.x1, other.x1));
    const double height = std::max(0.0, std::min(one.y2, other.y2) - std::max(one.y1, other.y1));
    const double shared = width * height;
    const double all =
        (one.x2 - one.x1) * (one.y2 - one.y1) + (other.x2 - other.x1) * (other.y2 - other.y1) - shared;
    return shared / std::max(all, std::numeric_limits<double>::min());
}

Corners buffered(const Corners& box, double share) {
    const double wide = share * (box.x2 - box.x1);
    const double tall = share * (box.y2 - box.y1);
    return {box.x1 - wide, box.y1 - tall, box.x2 + wide, box.y2 + tall};
}

Corners buffered(const Box& box, double share) {
    const float part = static_cast<float>(share);
    const float wide = part * (box.x2 - box.x1);
    const float tall = part * (box.y2 - box.y1);
    return corners_of({box.x1 - wide, box.y1 - tall, box.x2 + wide, box.y2 + tall});
}

Detections strongest(Detections found, double iou) {
    std::stable_sort(found.begin(), found.end(),
                     [](const Detection& a, const Detection& b) { return a.score > b.score; });
    Detections kept;
    for (const Detection& one : found) {
        const bool new_one = std::all_of(kept.begin(), kept.end(), [&](const Detection& other) {
            return overlap(corners_of(other.box), corners_of(one.box)) <= iou;
        });
        if (new_one) kept.push_back(one);
    }
    return kept;
}

}  // namespace vreid::watch

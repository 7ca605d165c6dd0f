// The seam of detectors: frames of any cameras in, vehicles out. Mirrors runtime/detectors/table.py.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vreid/records.hpp"

namespace vreid {

/// Finds vehicles. What it must remember of a camera it keeps by `frame.camera`.
class Detector {
 public:
    Detector() = default;
    Detector(const Detector&) = delete;
    Detector& operator=(const Detector&) = delete;
    virtual ~Detector() = default;

    /// Frames, of several cameras if need be -> the vehicles of each, in the same order.
    virtual std::vector<Detections> detect(const std::vector<Frame>& frames) = 0;

    /// From which a detection may begin a track; weaker ones only go on with one.
    [[nodiscard]] virtual double first_score() const = 0;

    /// In sides of its own box, for a track of these detections to be told; 0 where standing will do.
    [[nodiscard]] virtual double least_travel() const { return 0; }
};

/// The detector that `text` names: `yolox:FILE[?tiles=2]`, `motion[:?warm_up=5&min_area=0.0005]` or
/// `replay:PATH[?min_visibility=0.1]`; no `min_score` is the detector's own. Refused for an unknown name,
/// option or file.
std::unique_ptr<Detector> open_detector(const std::string& text, int threads = 1,
                                        std::optional<double> min_score = std::nullopt);

}  // namespace vreid

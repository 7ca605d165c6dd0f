// Numbers written after the `?` of a detector's text, as in `yolox:FILE?tiles=2`.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "vreid/detector.hpp"

namespace vreid::watch {

/// What one number may be.
struct Range {
    double usual, least, most;
};

/// A detector's text, taken apart: what stands before the `?`, and the numbers after it.
struct Asked {
    std::string target;
    std::map<std::string, std::string> options;
    int threads;
    std::optional<double> min_score;
};

/// A value for every name of `known`. Refused for an unknown name, a value that is not a number or out of
/// range.
std::map<std::string, double> numbers_of(const std::string& detector, const Asked& asked,
                                         const std::map<std::string, Range>& known);

// The members of the seam.
std::unique_ptr<Detector> open_yolox(const Asked& asked);
std::unique_ptr<Detector> open_motion(const Asked& asked);
std::unique_ptr<Detector> open_replay(const Asked& asked);

}  // namespace vreid::watch

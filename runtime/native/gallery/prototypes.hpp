// Which features stand for a vehicle: near ones of one view are averaged, at most a handful are kept.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "database.hpp"
#include "vreid/gallery.hpp"

namespace vreid::gallery {

/// Refused unless `feature` is one of (dim,).
void refuse_length(const std::vector<float>& feature, int dim);

/// A stored feature -> (dim,) at `feature`. Refused for one of another length.
void copy_feature(const Bytes& stored, int dim, float* feature);

/// `kept` with a unit feature averaged in by quality, of unit length again; none when the two cancel out.
std::optional<Prototype> merged(const Prototype& kept, const std::vector<float>& feature, double weight);

/// The prototype of the same view that a unit feature belongs to: the nearest, when its cosine is `above`.
const Prototype* home_of(const std::vector<Prototype>& kept, const std::string& view,
                         const std::vector<float>& feature, double above);

/// The ids of what is dropped when more than `most` are kept: the lightest, of equals the newest.
std::vector<std::int64_t> surplus(const std::vector<Prototype>& kept, int most);

}  // namespace vreid::gallery

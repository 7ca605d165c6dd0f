// The percentile of a list of times.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

namespace vreid::program {

/// numpy.percentile with linear interpolation; `values` may not be empty, `share` is 0..100.
inline double percentile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    const double place = static_cast<double>(values.size() - 1) * share / 100;
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
}

}  // namespace vreid::program

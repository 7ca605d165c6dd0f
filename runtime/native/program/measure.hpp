// What bench measures: percentiles of times, and the memory of this process (Linux).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
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

/// A line of /proc/self/status in bytes: VmRSS is what is resident now, VmHWM the most so far. 0 where there
/// is none.
inline std::int64_t memory(const std::string& line) {
    std::ifstream file("/proc/self/status");
    for (std::string name; file >> name;) {
        if (name == line + ":") {
            std::int64_t kilobytes = 0;
            file >> kilobytes;
            return 1024 * kilobytes;
        }
    }
    return 0;
}

}  // namespace vreid::program

// What this process holds in memory (Linux).
#pragma once

#include <cstdint>
#include <fstream>
#include <string>

namespace vreid::program {

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

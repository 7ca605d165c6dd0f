// Frames of several cameras, merged: files in step with one clock and lossless, live cameras as they come.
// Mirrors runtime/merge.py.
#pragma once

#include <atomic>
#include <optional>
#include <vector>

#include "source.hpp"

namespace vreid::watch {

/// Gives the frames that belong together, until there are none any more or `stop` is set.
class Merge {
 public:
    Merge(const Sources& sources, Bell& bell, const std::atomic<bool>& stop);

    /// Empty at the end. Throws what a source throws.
    std::vector<Frame> next();

 private:
    std::vector<Frame> in_step();
    std::vector<Frame> as_they_come();
    bool look();

    const Sources& sources_;
    Bell& bell_;
    const std::atomic<bool>& stop_;
    bool live_;
    double half_;  // of a frame of the fastest source: what is less apart comes together
    std::vector<std::optional<Frame>> waiting_;
    std::vector<bool> over_;
};

}  // namespace vreid::watch

// `sightings.jsonl`: one JSON object a sighting, on the disk as soon as it is decided. Mirrors
// runtime/sinks/jsonl.py.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "vreid/records.hpp"

namespace vreid::watch {

/// The line's text, the very one that Python writes: frames from 0, times in seconds on the source's clock,
/// `seen` the last in seconds since 1970, `box` the last, x1 y1 x2 y2 in pixels.
std::string line_of(const Sighting& sighting, const Match& match, const Box& last);

/// The open file, which goes on where an earlier run's ends; when somebody has moved it away, to keep or to
/// pack it, the next line begins a new one.
class SightingsFile {
 public:
    explicit SightingsFile(const std::filesystem::path& folder);

    /// One line, handed to the system at once: what a reader sees is whole unless the program died in the
    /// middle of it.
    void tell(const Sighting& sighting, const Match& match, const Box& last);

 private:
    struct Closed {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    void open();
    [[nodiscard]] bool moved() const;

    std::filesystem::path path_;
    std::unique_ptr<std::FILE, Closed> file_;
};

}  // namespace vreid::watch

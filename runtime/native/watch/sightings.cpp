// The lines of sightings.jsonl and the file that they are in.
#include "sightings.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "numbers.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string quoted(const std::string& text) {
    return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

[[noreturn]] void refuse(const fs::path& path) {
    throw Refused("cannot write " + path.string() + " (" + std::strerror(errno) +
                  "); make room or choose another --out");
}

/// Without the piece of a line that a program left which died in the middle of it.
void cut_to_whole_lines(const fs::path& path) {
    std::error_code fault;
    const std::uintmax_t size = fs::file_size(path, fault);
    if (fault || size == 0) return;
    std::ifstream file(path, std::ios::binary);
    std::uintmax_t whole = size;
    for (char last = 0; whole > 0; --whole) {
        file.seekg(static_cast<std::streamoff>(whole - 1));
        if (!file.get(last) || last == '\n') break;
    }
    if (whole < size) fs::resize_file(path, whole);
}

}  // namespace

std::string line_of(const Sighting& sighting, const Match& match, const Box& last) {
    const auto side = [](float edge) { return rounded(static_cast<double>(edge), 2); };
    const std::string none = "null";
    std::string line = "{\"camera\": " + quoted(sighting.camera);
    const auto field = [&line](const char* name, const std::string& value) {
        line += std::string(", \"") + name + "\": " + value;
    };
    field("track", std::to_string(sighting.track));
    field("vehicle", match.vehicle ? std::to_string(*match.vehicle) : none);
    field("name", match.name ? quoted(*match.name) : none);
    field("known", match.known ? "true" : "false");
    field("score", std::isfinite(match.score) ? rounded(match.score, 4) : none);
    field("first_frame", std::to_string(sighting.first_frame));
    field("last_frame", std::to_string(sighting.last_frame));
    field("first_time", rounded(sighting.first_time, 3));
    field("last_time", rounded(sighting.last_time, 3));
    field("seen", sighting.seen != 0 ? rounded(sighting.seen, 3) : none);
    field("kind", quoted(kind_name(sighting.kind)));
    field("plate", sighting.plate ? quoted(*sighting.plate) : none);
    field("crops", std::to_string(sighting.crops));
    field("quality", rounded(sighting.quality, 4));
    field("box",
          "[" + side(last.x1) + ", " + side(last.y1) + ", " + side(last.x2) + ", " + side(last.y2) + "]");
    return line + "}";
}

SightingsFile::SightingsFile(const fs::path& folder) : path_(folder / "sightings.jsonl") { open(); }

void SightingsFile::tell(const Sighting& sighting, const Match& match, const Box& last) {
    if (moved()) open();
    const std::string line = line_of(sighting, match, last) + "\n";
    if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
        std::fflush(file_.get()) != 0) {
        refuse(path_);
    }
}

void SightingsFile::open() {
    file_.reset();
    cut_to_whole_lines(path_);
    file_.reset(std::fopen(path_.c_str(), "ab"));
    if (!file_) refuse(path_);
}

bool SightingsFile::moved() const {
    struct stat ours {};
    struct stat there {};
    if (::fstat(::fileno(file_.get()), &ours) != 0 || ::stat(path_.c_str(), &there) != 0) return true;
    return ours.st_dev != there.st_dev || ours.st_ino != there.st_ino;
}

}  // namespace vreid::watch

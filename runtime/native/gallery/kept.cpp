// The files of kept pictures next to a gallery.
#include "kept.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <system_error>
#include <utility>

#include "vreid/errors.hpp"

namespace vreid::gallery {
namespace fs = std::filesystem;
namespace {

/// What was not removed of a sighting's files; empty where nothing is left.
std::string left_of(const fs::path& gallery, const Deleted& sighting) {
    const std::string& camera = sighting.camera;
    const bool dots = camera.find_first_not_of('.') == std::string::npos;
    if (dots || camera.find('/') != std::string::npos) return "";  // no run has such a camera
    const auto milliseconds = static_cast<std::int64_t>(std::floor(sighting.seen * 1000));
    const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
    std::tm utc{};
    if (gmtime_r(&seconds, &utc) == nullptr) return "";
    std::array<char, 16> day{};
    std::array<char, 16> moment{};
    std::strftime(day.data(), day.size(), "%Y-%m-%d", &utc);
    std::strftime(moment.data(), moment.size(), "%H%M%S", &utc);
    std::array<char, 16> part{};
    std::snprintf(part.data(), part.size(), "%03d", static_cast<int>(milliseconds % 1000));
    const std::string name = std::string(moment.data()) + part.data() + "-" + std::to_string(sighting.track);
    fs::path folder = gallery;
    folder += ".pictures";
    std::string left;
    for (const char* ending : {".jpg", ".mp4"}) {
        const fs::path file = folder / camera / day.data() / (name + ending);
        std::error_code fault;
        fs::remove(file, fault);
        if (fault && fault != std::errc::not_a_directory && left.empty())
            left = file.string() + " (" + fault.message() + ")";
    }
    return left;
}

}  // namespace

void KeptRemovals::committed(const fs::path& gallery) {
    std::string left;
    for (const Deleted& sighting : std::exchange(waiting_, {})) {
        const std::string one = left_of(gallery, sighting);
        if (left.empty()) left = one;
    }
    if (left.empty()) return;
    throw Refused("cannot remove the kept picture " + left +
                  "; make its folder writable and remove the file: its sighting is deleted");
}

}  // namespace vreid::gallery

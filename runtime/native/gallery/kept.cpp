// The files of kept pictures next to a gallery.
#include "kept.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <system_error>

#include "vreid/errors.hpp"

namespace vreid::gallery {
namespace fs = std::filesystem;

void remove_kept(const fs::path& gallery, const std::string& camera, double seen, std::int64_t track) {
    const bool dots = camera.find_first_not_of('.') == std::string::npos;
    if (dots || camera.find('/') != std::string::npos) return;  // no run has such a camera
    const auto milliseconds = static_cast<std::int64_t>(std::floor(seen * 1000));
    const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
    std::tm utc{};
    if (gmtime_r(&seconds, &utc) == nullptr) return;
    std::array<char, 16> day{};
    std::array<char, 16> moment{};
    std::strftime(day.data(), day.size(), "%Y-%m-%d", &utc);
    std::strftime(moment.data(), moment.size(), "%H%M%S", &utc);
    std::array<char, 16> part{};
    std::snprintf(part.data(), part.size(), "%03d", static_cast<int>(milliseconds % 1000));
    const std::string name = std::string(moment.data()) + part.data() + "-" + std::to_string(track);
    fs::path folder = gallery;
    folder += ".pictures";
    for (const char* ending : {".jpg", ".mp4"}) {
        const fs::path file = folder / camera / day.data() / (name + ending);
        std::error_code fault;
        fs::remove(file, fault);
        if (fault && fault != std::errc::not_a_directory) {
            throw Refused("cannot remove the kept picture " + file.string() + " (" + fault.message() +
                          "); make its folder writable");
        }
    }
}

}  // namespace vreid::gallery

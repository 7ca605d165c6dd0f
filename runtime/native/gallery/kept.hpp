// The files of kept pictures next to a gallery, named as runtime/kept/folder.py names them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace vreid::gallery {

/// Remove what was kept of a sighting that ended at `seen`, in seconds since 1970. Throws Refused.
void remove_kept(const std::filesystem::path& gallery, const std::string& camera, double seen,
                 std::int64_t track);

}  // namespace vreid::gallery

// Reads one picture from disk, whole or not at all.
#pragma once

#include <filesystem>
#include <opencv2/core.hpp>
#include <string_view>

#include "vreid/export.hpp"

namespace vreid {

/// The file as (H, W, 3) uint8 BGR, turned upright by its EXIF; Refused, by name, when it is missing, cut or
/// no picture.
VREID_API cv::Mat read_picture(const std::filesystem::path& path);

/// False when a JPEG ends before its end marker or a PNG before its last chunk; true for all other content.
VREID_API bool is_whole(std::string_view content);

}  // namespace vreid

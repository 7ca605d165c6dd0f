// Reads one picture from disk, whole or not at all.
#pragma once

#include <filesystem>
#include <opencv2/core.hpp>

#include "vreid/export.hpp"

namespace vreid {

/// The file as (H, W, 3) uint8 BGR, turned upright by its EXIF; Refused, by name, when it is missing, cut or
/// no picture.
VREID_API cv::Mat read_picture(const std::filesystem::path& path);

}  // namespace vreid

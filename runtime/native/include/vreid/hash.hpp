// The hash that ties an engine to its manifest.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "vreid/export.hpp"

namespace vreid {

/// The SHA-256 of a file in small hex, read in blocks. Refused where the file cannot be read.
VREID_API std::string sha256_of(const std::filesystem::path& path);

/// The SHA-256 of bytes in memory, in small hex.
VREID_API std::string sha256_of_bytes(std::string_view bytes);

}  // namespace vreid

// Files as bytes, and the hash that ties an engine to its manifest.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace vreid {

/// The bytes of a file; nothing, and the system's reason in `why`, where it cannot be read.
std::optional<std::string> bytes_of(const std::filesystem::path& path, std::string& why);

/// The bytes of a file; Refused where it cannot be read.
std::string read_bytes(const std::filesystem::path& path);

/// The SHA-256 of bytes in memory, in small hex.
std::string sha256_of(std::string_view bytes);

}  // namespace vreid

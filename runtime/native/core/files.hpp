// Files as bytes.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace vreid {

/// The bytes of a file; nothing, and the system's reason in `why`, where it cannot be read.
std::optional<std::string> bytes_of(const std::filesystem::path& path, std::string& why);

/// The bytes of a file; Refused where it cannot be read.
std::string read_bytes(const std::filesystem::path& path);

}  // namespace vreid

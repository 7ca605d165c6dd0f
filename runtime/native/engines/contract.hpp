// What an engine takes and gives, held against its manifest: the same for every engine.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "network.hpp"
#include "vreid/manifest.hpp"

namespace vreid {

/// Refused unless the engine at `path` has one input and one output, and they are the manifest's. The batch
/// may vary, or is the one batch that the manifest knows.
void refuse_ports(const Manifest& manifest, const std::filesystem::path& path,
                  const std::vector<Port>& inputs, const std::vector<Port>& outputs);

/// The first line of what a library says of its failure.
std::string first_line(const std::string& text);

/// The last line that says something: some libraries begin with their own source files.
std::string last_line(const std::string& text);

}  // namespace vreid

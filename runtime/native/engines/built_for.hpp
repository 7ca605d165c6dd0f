// Whether a built engine is for this machine: an engine is for one device, one TensorRT and one driver.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "vreid/manifest.hpp"

namespace vreid {

using MachineKey = std::map<std::string, std::string>;

/// Refused, with the field that differs from `here`, for an engine that was built for another machine or not
/// built.
void refuse_elsewhere(const Manifest& manifest, const std::filesystem::path& path, const MachineKey& here);

}  // namespace vreid

// Whether a built engine is for this machine: an engine is for one device, one TensorRT and one driver.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "vreid/manifest.hpp"

namespace vreid {

/// The fields of this machine, in the order in which a difference is named.
using MachineKey = std::vector<std::pair<std::string, std::string>>;

/// What a device tree calls the board, such as "NVIDIA Jetson Orin NX Engineering Reference Developer Kit";
/// none where there is no such file, on a PC. CUDA names an AGX Orin, an Orin NX and an Orin Nano "Orin"
/// alike.
std::optional<std::string> board(const std::filesystem::path& path = "/proc/device-tree/model");

/// In words, the first field of `here` in which an engine `built` for something is not for this machine; none
/// where it is. Engines of earlier commits have no `multiprocessors` and no `board`: they are accepted on a PC,
/// where the device's name is enough, and refused on a board, where it is not.
std::optional<std::string> difference(const std::map<std::string, std::string>& built,
                                      const MachineKey& here);

/// Refused, with the field that differs from `here`, for an engine that was built for another machine or not
/// built.
void refuse_elsewhere(const Manifest& manifest, const std::filesystem::path& path, const MachineKey& here);

}  // namespace vreid

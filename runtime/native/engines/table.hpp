// The members of the seam of engines; each is compiled where its library is found.
#pragma once

#include <filesystem>
#include <memory>

#include "vreid/engine.hpp"
#include "vreid/network.hpp"

namespace vreid {

std::unique_ptr<Network> open_openvino(const std::filesystem::path& path, int threads);
std::unique_ptr<Network> open_onnxruntime(const std::filesystem::path& path, int threads);
std::unique_ptr<Network> open_opencv(const std::filesystem::path& path, int threads);
std::unique_ptr<Engine> open_tensorrt(const Manifest& manifest, const std::filesystem::path& path);

}  // namespace vreid

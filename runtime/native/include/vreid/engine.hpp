// The seam of engines: what runs a lowered network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vreid/manifest.hpp"

namespace vreid {

/// Runs one network. Calls on several threads take turns.
class Engine {
 public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    /// (batch, height, width, 3) uint8 BGR -> features (batch, dim) of unit length; `batch` is at most the
    /// manifest's largest.
    virtual void infer(const std::uint8_t* pixels, int batch, float* features) = 0;
};

/// The engine of `manifest` in the file `engine`, on `threads` CPU threads where it uses any. `name` takes
/// another than the manifest's backend: an ONNX file runs on onnxruntime, openvino and opencv alike. Refused
/// for one that is not compiled in.
std::unique_ptr<Engine> open_engine(const Manifest& manifest, const std::filesystem::path& engine,
                                    int threads, const std::string& name = "");

/// The names of the engines that were compiled in.
std::vector<std::string> engine_names();

}  // namespace vreid

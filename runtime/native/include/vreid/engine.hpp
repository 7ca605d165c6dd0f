// The seam of engines: what runs a lowered network.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "vreid/export.hpp"
#include "vreid/manifest.hpp"

namespace vreid {

/// Runs one network. Calls on several threads take turns.
class VREID_API Engine {
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
/// another than the manifest's backend: an ONNX file runs on onnxruntime, openvino and opencv alike, and
/// where its backend is not compiled in, openvino or onnxruntime is taken in its place. Refused for one that
/// is not compiled in.
VREID_API std::unique_ptr<Engine> open_engine(const Manifest& manifest, const std::filesystem::path& engine,
                                              int threads, const std::string& name = "");

/// The name of the engine that open_engine takes.
VREID_API std::string engine_for(const Manifest& manifest, const std::string& name = "");

/// The names of the engines that were compiled in.
VREID_API std::vector<std::string> engine_names();

}  // namespace vreid

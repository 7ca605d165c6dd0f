// The seam of engines: what runs a lowered network.
#pragma once

#include <cstdint>
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

/// The name of the engine that runs `manifest`: `name`, or the manifest's backend; where that is not compiled
/// in and another runs the same ONNX file, openvino or onnxruntime.
VREID_API std::string engine_for(const Manifest& manifest, const std::string& name = "");

/// The names of the engines that were compiled in.
VREID_API std::vector<std::string> engine_names();

}  // namespace vreid

// What an ONNX file declares: its opset and ports, and that nothing it needs is in another file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "network.hpp"

namespace vreid {

/// `inputs` are those of the graph itself that are not stored weights.
struct OnnxFile {
    std::uint64_t opset = 0;
    std::vector<Port> inputs;
    std::vector<Port> outputs;
};

/// Of the bytes of the file at `path`, which is for messages only. Refused for what is not an ONNX file, for
/// an unknown opset, and for what a hash of these bytes does not cover: weights in another file, wherever the
/// graph has a tensor, and compiled engines.
OnnxFile onnx_from(std::string_view bytes, const std::filesystem::path& path);

}  // namespace vreid

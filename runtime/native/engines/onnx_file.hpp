// What an ONNX file says of itself: opset, operations, ports, weights kept elsewhere.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "vreid/network.hpp"

namespace vreid {

/// `kinds` are the operations, `inputs` are those that are not stored weights, `elsewhere` the weights in
/// other files.
struct OnnxFile {
    std::uint64_t opset = 0;
    std::set<std::string> kinds;
    std::vector<Port> inputs;
    std::vector<Port> outputs;
    std::vector<std::string> elsewhere;
};

/// Refused for what is no ONNX file, for an unknown opset, and for weights in another file: no hash covers
/// those.
OnnxFile read_onnx_file(const std::filesystem::path& path);

/// The same of bytes in memory that came from `path`.
OnnxFile onnx_from(std::string_view bytes, const std::filesystem::path& path);

}  // namespace vreid

// One ONNX graph of one input and one output on a CPU engine, which an Engine is made of, and the check of
// its ports against the manifest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "vreid/manifest.hpp"

namespace vreid {

constexpr std::int64_t ANY = -1;  // a length that may vary

/// One input or output of a network.
struct Port {
    std::string name;
    std::string dtype;  // as numpy calls it: uint8, float32
    std::vector<std::int64_t> shape;
};

/// Runs one graph, for one thread at a time.
class Network {
 public:
    Network() = default;
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;
    virtual ~Network() = default;

    [[nodiscard]] virtual std::vector<Port> inputs() const = 0;
    [[nodiscard]] virtual std::vector<Port> outputs() const = 0;

    /// The first output, always float32, for the first input: `values` of its dtype in `shape`. The output's
    /// shape is put in `found`. What is given lives until the next run.
    virtual const float* run(const void* values, const std::vector<std::int64_t>& shape,
                             std::vector<std::int64_t>& found) = 0;
};

/// Refused unless the engine at `path` has one input and one output, and they are the manifest's. The batch
/// may vary, or is the one batch that the manifest knows.
void refuse_ports(const Manifest& manifest, const std::filesystem::path& path,
                  const std::vector<Port>& inputs, const std::vector<Port>& outputs);

/// The first line of a library's error text.
std::string first_line(const std::string& text);

/// The last line that is not blank: some libraries begin with their own source files.
std::string last_line(const std::string& text);

}  // namespace vreid

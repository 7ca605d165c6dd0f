// One ONNX graph of one input and one output on a CPU engine: what an Engine is made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

}  // namespace vreid

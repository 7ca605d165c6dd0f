// Whatever stands in an ONNX file, its opset and ports are read or it is refused.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engines/onnx_file.hpp"
#include "vreid/errors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        vreid::onnx_from({reinterpret_cast<const char*>(data), size}, "fuzzed.onnx");
    } catch (const vreid::Refused&) {  // what it is for
    }
    return 0;
}

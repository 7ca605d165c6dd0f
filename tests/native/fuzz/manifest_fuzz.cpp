// Whatever stands in a manifest, it is accepted or refused: no crash, no other exception, no undefined
// behaviour.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "vreid/errors.hpp"
#include "vreid/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const auto manifest =
            vreid::manifest_from({reinterpret_cast<const char*>(data), size}, "fuzzed.json");
        const auto& batch = manifest.input.batch;
        const bool sound = batch[0] >= 1 && batch[0] <= batch[1] && batch[1] <= batch[2] &&
                           manifest.input.height >= 1 && manifest.output.dim >= 1 &&
                           manifest.sha256.size() == 64 && manifest.engine.find('/') == std::string::npos &&
                           manifest.engine != ".." && !manifest.name.empty();
        if (!sound) std::abort();
    } catch (const vreid::Refused&) {  // what it is for
    }
    return 0;
}

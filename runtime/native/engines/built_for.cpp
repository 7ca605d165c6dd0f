// Holds an engine's `built_for` against the machine, as runtime/engines/built_for.py does.
#include "built_for.hpp"

#include <algorithm>

#include "vreid/errors.hpp"

namespace vreid {
namespace {

/// Of a field, in words.
std::string word_of(const std::string& field) {
    if (field == "compute_capability") return "compute capability";
    return field == "tensorrt" ? "TensorRT" : field;
}

/// Whether two versions are one as far as both are told: 10.3.0 is 10.3.0.26.
bool same_version(const std::string& one, const std::string& other) {
    const std::size_t shorter = std::min(one.size(), other.size());
    const auto ends = [shorter](const std::string& text) {
        return text.size() == shorter || text[shorter] == '.';
    };
    return one.compare(0, shorter, other, 0, shorter) == 0 && ends(one) && ends(other);
}

}  // namespace

void refuse_elsewhere(const Manifest& manifest, const std::filesystem::path& path, const MachineKey& here) {
    if (!manifest.built_for) {
        throw Refused(path.string() +
                      " is not built for any device; run: vreid build <its manifest> --engine " +
                      manifest.backend);
    }
    for (const auto& [field, mine] : here) {
        const auto found = manifest.built_for->find(field);
        const std::string theirs = found == manifest.built_for->end() ? "unknown" : found->second;
        if (field == "tensorrt" ? !same_version(theirs, mine) : theirs != mine) {
            throw Refused(path.string() + " was built for " + word_of(field) + " " + theirs +
                          " and here is " + mine +
                          "; run vreid build again here, from the ONNX it was made of");
        }
    }
}

}  // namespace vreid

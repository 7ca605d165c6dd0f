// Holds an engine's `built_for` against the machine, as runtime/engines/devices.py does.
#include "built_for.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>

#include "vreid/errors.hpp"

namespace vreid {
namespace {

/// Of a field, in words.
std::string word_of(const std::string& field) {
    if (field == "compute_capability") return "compute capability";
    if (field == "multiprocessors") return "a number of multiprocessors of";
    return field == "tensorrt" ? "TensorRT" : field;
}

/// Whether two versions are one as far as both are given: 10.3.0 is 10.3.0.26.
bool same_version(const std::string& one, const std::string& other) {
    const std::size_t shorter = std::min(one.size(), other.size());
    const auto ends = [shorter](const std::string& text) {
        return text.size() == shorter || text[shorter] == '.';
    };
    return one.compare(0, shorter, other, 0, shorter) == 0 && ends(one) && ends(other);
}

}  // namespace

std::optional<std::string> board(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string around(std::string_view("\0\n ", 3));
    const std::size_t from = text.find_first_not_of(around);
    if (from == std::string::npos) return std::nullopt;
    return text.substr(from, text.find_last_not_of(around) + 1 - from);
}

std::optional<std::string> difference(const std::map<std::string, std::string>& built,
                                      const MachineKey& here) {
    const bool on_board =
        std::any_of(here.begin(), here.end(), [](const auto& one) { return one.first == "board"; });
    for (const auto& [field, here_value] : here) {
        const auto found = built.find(field);
        if (field == "multiprocessors" && found == built.end() && !on_board) continue;
        const std::string built_value = found == built.end() ? "unknown" : found->second;
        if (field == "tensorrt" ? same_version(built_value, here_value) : built_value == here_value) continue;
        return word_of(field) + " " + built_value + " and here is " + here_value;
    }
    return std::nullopt;
}

void refuse_elsewhere(const Manifest& manifest, const std::filesystem::path& path, const MachineKey& here) {
    if (!manifest.built_for) {
        throw Refused(path.string() +
                      " is not built for any device; run: vreid build <its manifest> --engine " +
                      manifest.backend);
    }
    if (const auto wrong = difference(*manifest.built_for, here)) {
        throw Refused(path.string() + " was built for " + *wrong +
                      "; run vreid build again here, from the ONNX it was made of");
    }
}

}  // namespace vreid

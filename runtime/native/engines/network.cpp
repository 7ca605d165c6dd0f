// Holds an engine's ports against its manifest, in the words of runtime/engines/table.py.
#include "network.hpp"

#include <algorithm>

#include "vreid/errors.hpp"

namespace vreid {
namespace {

std::string text_of(const Port& port) {
    std::string text = port.name + " " + port.dtype + " (";
    for (std::size_t place = 0; place < port.shape.size(); ++place) {
        if (place > 0) text += ", ";
        text += port.shape[place] == ANY ? "any" : std::to_string(port.shape[place]);
    }
    return text + ")";
}

std::string text_of(const std::vector<Port>& ports) {
    std::string text;
    for (const Port& port : ports) text += (text.empty() ? "" : ", ") + text_of(port);
    return text.empty() ? "nothing" : text;
}

bool same_but_for_batch(const Port& found, const Port& wanted) {
    return found.name == wanted.name && found.dtype == wanted.dtype &&
           found.shape.size() == wanted.shape.size() &&
           std::equal(found.shape.begin() + 1, found.shape.end(), wanted.shape.begin() + 1);
}

void refuse_port(const Manifest& manifest, const std::string& path, const std::string& verb,
                 const std::vector<Port>& found, const Port& wanted) {
    if (found.size() != 1 || !same_but_for_batch(found[0], wanted)) {
        throw Refused(path + " " + verb + " " + text_of(found) + " and its manifest says " + text_of(wanted) +
                      "; export the model again");
    }
    const auto& batch = manifest.input.batch;
    const std::int64_t only = found[0].shape[0];
    if (only != ANY && std::any_of(batch.begin(), batch.end(), [only](int size) { return size != only; })) {
        throw Refused(path + " " + verb + " " + std::to_string(only) +
                      " images at a time and its manifest says " + std::to_string(batch[0]) + " " +
                      std::to_string(batch[1]) + " " + std::to_string(batch[2]) + "; export the model again");
    }
}

}  // namespace

void refuse_ports(const Manifest& manifest, const std::filesystem::path& path,
                  const std::vector<Port>& inputs, const std::vector<Port>& outputs) {
    const auto& spec = manifest.input;
    refuse_port(manifest, path.string(), "takes", inputs,
                {spec.name, "uint8", {ANY, spec.height, spec.width, 3}});
    refuse_port(manifest, path.string(), "gives", outputs,
                {manifest.output.name, "float32", {ANY, manifest.output.dim}});
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string last_line(const std::string& text) {
    constexpr auto blanks = " \t\r\n";
    const std::size_t end = text.find_last_not_of(blanks);
    if (end == std::string::npos) return "it gave no reason";
    const std::size_t start = text.find_last_of('\n', end);
    const std::string line = text.substr(start == std::string::npos ? 0 : start + 1, end - (start + 1) + 1);
    return line.substr(line.find_first_not_of(blanks));
}

}  // namespace vreid

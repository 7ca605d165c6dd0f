// Reads the few fields of an ONNX file that are wanted, by the protobuf wire format
// (protobuf.dev/programming-guides/encoding) and the field numbers of onnx.proto3; the numbers of the weights
// are stepped over. The C++ of runtime/engines/onnx_file.py.
#include "onnx_file.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr std::uint64_t NEWEST_OPSET = 28;  // of ONNX 1.23: what is newer may mean anything
constexpr std::string_view COMPILED =
    "EPContext";  // ONNX Runtime's node for a compiled engine, which may lie in another file

/// The messages of onnx.proto3 through which a tensor is reached.
enum class Kind { model, graph, node, attribute, sparse, training, function, tensor };

/// Which message is in field `number` of a message; none: no tensor is reached through it. The table of
/// runtime/engines/onnx_file.py, which a test there compares with the schema of the onnx package.
std::optional<Kind> part_of(Kind message, std::uint64_t number) {
    static const std::map<std::pair<Kind, std::uint64_t>, Kind> parts{
        {{Kind::model, 7}, Kind::graph},        {{Kind::model, 20}, Kind::training},
        {{Kind::model, 25}, Kind::function},    {{Kind::graph, 1}, Kind::node},
        {{Kind::graph, 5}, Kind::tensor},       {{Kind::graph, 15}, Kind::sparse},
        {{Kind::node, 5}, Kind::attribute},     {{Kind::attribute, 5}, Kind::tensor},
        {{Kind::attribute, 6}, Kind::graph},    {{Kind::attribute, 10}, Kind::tensor},
        {{Kind::attribute, 11}, Kind::graph},   {{Kind::attribute, 22}, Kind::sparse},
        {{Kind::attribute, 23}, Kind::sparse},  {{Kind::sparse, 1}, Kind::tensor},
        {{Kind::sparse, 2}, Kind::tensor},      {{Kind::training, 1}, Kind::graph},
        {{Kind::training, 2}, Kind::graph},     {{Kind::function, 7}, Kind::node},
        {{Kind::function, 11}, Kind::attribute}};
    const auto found = parts.find({message, number});
    return found == parts.end() ? std::nullopt : std::optional(found->second);
}

/// What breaks off or is not a message.
class Broken : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Steps through the fields of one message.
class Message {
 public:
    explicit Message(std::string_view bytes) : bytes_(bytes) {}

    /// Moves to the next field; false at the end.
    bool next() {
        if (bytes_.empty()) return false;
        const std::uint64_t tag = varint();
        number_ = (tag & 0xFFFFFFFFU) >> 3U;  // protobuf keeps 32 bits of a tag
        const std::uint64_t kind = tag & 7U;
        is_block_ = kind != 0;
        if (kind == 0) {
            value_ = varint();
            return true;
        }
        if (kind != 1 && kind != 2 && kind != 5) throw Broken("wire type");
        const std::uint64_t size = kind == 2 ? varint() : kind == 1 ? 8 : 4;
        if (size > bytes_.size()) throw Broken("cut short");
        block_ = bytes_.substr(0, size);
        bytes_.remove_prefix(size);
        return true;
    }

    [[nodiscard]] std::uint64_t number() const { return number_; }

    [[nodiscard]] std::uint64_t value() const {
        if (is_block_) throw Broken("a message where a number should be");
        return value_;
    }

    [[nodiscard]] std::string_view block() const {
        if (!is_block_) throw Broken("a number where a message should be");
        return block_;
    }

    [[nodiscard]] std::string text() const { return std::string(block()); }

 private:
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            if (bytes_.empty()) throw Broken("cut short");
            const auto byte = static_cast<unsigned char>(bytes_.front());
            bytes_.remove_prefix(1);
            value |= static_cast<std::uint64_t>(byte & 127U) << shift;
            if (byte < 128) return value;
        }
        throw Broken("a number of more than 64 bits");
    }

    std::string_view bytes_;
    std::string_view block_;
    std::uint64_t number_ = 0;
    std::uint64_t value_ = 0;
    bool is_block_ = false;
};

std::string dtype_of(std::uint64_t kind) {
    return kind == 1 ? "float32" : kind == 2 ? "uint8" : kind == 10 ? "float16" : "other";
}

std::int64_t length_of(std::string_view bytes) {
    std::int64_t length = ANY;
    for (Message dimension(bytes); dimension.next();) {
        if (dimension.number() == 1) length = static_cast<std::int64_t>(dimension.value());
    }
    return length;
}

Port port_of(std::string_view bytes) {
    Port port{"", "other", {}};
    for (Message info(bytes); info.next();) {
        if (info.number() == 1) port.name = info.text();
        if (info.number() != 2) continue;
        for (Message type(info.block()); type.next();) {
            if (type.number() != 1) continue;
            for (Message tensor(type.block()); tensor.next();) {
                if (tensor.number() == 1) port.dtype = dtype_of(tensor.value());
                if (tensor.number() != 2) continue;
                for (Message shape(tensor.block()); shape.next();) {
                    if (shape.number() == 1) port.shape.push_back(length_of(shape.block()));
                }
            }
        }
    }
    return port;
}

/// What the walk finds out besides the ports.
struct Found {
    OnnxFile file;
    std::set<std::string> stored;        // initializers of the graph itself
    std::vector<std::string> elsewhere;  // tensors whose numbers are in another file
    bool is_compiled = false;
};

void read_tensor(std::string_view bytes, bool is_own, Found& found) {
    std::string name;
    bool is_elsewhere = false;
    for (Message tensor(bytes); tensor.next();) {
        if (tensor.number() == 8) name = tensor.text();
        if (tensor.number() == 13) is_elsewhere = true;                         // external_data
        if (tensor.number() == 14 && tensor.value() != 0) is_elsewhere = true;  // data_location
    }
    if (is_own) found.stored.insert(name);
    if (is_elsewhere) found.elsewhere.push_back(name.empty() ? "a constant" : name);
}

void read_opset(std::string_view bytes, OnnxFile& found) {
    std::string domain;
    std::uint64_t version = 0;
    for (Message entry(bytes); entry.next();) {
        if (entry.number() == 1) domain = entry.text();
        if (entry.number() == 2) version = entry.value();
    }
    if (domain.empty() || domain == "ai.onnx") found.opset = version == 0 ? found.opset : version;
}

/// Every message through which a tensor is reached, by a list and no recursion, since graphs nest.
void walk(std::string_view bytes, Found& found) {
    struct Block {
        Kind kind;
        std::string_view bytes;
        bool is_own;  // of the graph itself, not of a subgraph or function
    };
    std::vector<Block> waiting{{Kind::model, bytes, true}};
    while (!waiting.empty()) {
        const Block block = waiting.back();
        waiting.pop_back();
        if (block.kind == Kind::tensor) {
            read_tensor(block.bytes, block.is_own, found);
            continue;
        }
        const bool is_graph = block.kind == Kind::graph && block.is_own;
        std::vector<Block> inner;
        for (Message message(block.bytes); message.next();) {
            const std::uint64_t number = message.number();
            if (const auto kind = part_of(block.kind, number)) {
                const bool is_own = (block.kind == Kind::model && number == 7) || (is_graph && number == 5);
                inner.push_back({*kind, message.block(), is_own});
            } else if (block.kind == Kind::model && number == 8) {
                read_opset(message.block(), found.file);
            } else if (block.kind == Kind::node && number == 4) {
                found.is_compiled = found.is_compiled || message.block() == COMPILED;
            } else if (is_graph && number == 11) {
                found.file.inputs.push_back(port_of(message.block()));
            } else if (is_graph && number == 12) {
                found.file.outputs.push_back(port_of(message.block()));
            }
        }
        waiting.insert(waiting.end(), inner.rbegin(), inner.rend());
    }
    auto& inputs = found.file.inputs;
    const auto is_stored = [&found](const Port& port) { return found.stored.count(port.name) > 0; };
    inputs.erase(std::remove_if(inputs.begin(), inputs.end(), is_stored), inputs.end());
}

}  // namespace

OnnxFile onnx_from(std::string_view bytes, const std::filesystem::path& path) {
    Found found;
    try {
        walk(bytes, found);
        if (found.file.opset == 0) throw Broken("no opset");
    } catch (const Broken&) {
        throw Refused("cannot load " + path.string() +
                      ": it is not a complete ONNX file; export the model again");
    }
    if (!found.elsewhere.empty()) {
        throw Refused(path.string() + " keeps its weights (" + found.elsewhere[0] +
                      " and others) in another file, which its hash does not cover; export the model again, "
                      "into one file");
    }
    if (found.is_compiled) {
        throw Refused(path.string() + " has a node " + std::string(COMPILED) +
                      ", a compiled engine that may be in another file; give the ONNX it was made from");
    }
    if (found.file.opset > NEWEST_OPSET) {
        throw Refused(path.string() + " is written in ONNX opset " + std::to_string(found.file.opset) +
                      " and vreid knows 1 to " + std::to_string(NEWEST_OPSET) + "; export the model again");
    }
    return std::move(found.file);
}

}  // namespace vreid

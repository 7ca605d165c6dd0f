// Reads the few fields of an ONNX file that are wanted, by the protobuf wire format
// (protobuf.dev/programming-guides/encoding) and the field numbers of onnx.proto3; the numbers of the weights
// are stepped over. The C++ of runtime/engines/onnx_file.py.
#include "onnx_file.hpp"

#include <algorithm>
#include <stdexcept>

#include "core/bytes.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr std::uint64_t NEWEST_OPSET = 28;  // of ONNX 1.23: what is newer may mean anything
constexpr std::uint64_t ELSEWHERE = 1;      // TensorProto.DataLocation.EXTERNAL

/// What breaks off or is no message.
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
        number_ = tag >> 3U;
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

/// The initializer's name; noted where its numbers are in another file.
std::string stored_of(std::string_view bytes, OnnxFile& found) {
    std::string name;
    bool elsewhere = false;
    for (Message tensor(bytes); tensor.next();) {
        if (tensor.number() == 8) name = tensor.text();
        if (tensor.number() == 14) elsewhere = tensor.value() == ELSEWHERE;
    }
    if (elsewhere) found.elsewhere.push_back(name);
    return name;
}

void read_graph(std::string_view bytes, OnnxFile& found) {
    std::set<std::string> stored;
    for (Message graph(bytes); graph.next();) {
        if (graph.number() == 1) {
            for (Message node(graph.block()); node.next();) {
                if (node.number() == 4) found.kinds.insert(node.text());
            }
        }
        if (graph.number() == 5) stored.insert(stored_of(graph.block(), found));
        if (graph.number() == 11) found.inputs.push_back(port_of(graph.block()));
        if (graph.number() == 12) found.outputs.push_back(port_of(graph.block()));
    }
    const auto is_stored = [&stored](const Port& port) { return stored.count(port.name) > 0; };
    found.inputs.erase(std::remove_if(found.inputs.begin(), found.inputs.end(), is_stored),
                       found.inputs.end());
}

void read_opset(std::string_view bytes, OnnxFile& found) {
    std::string domain;
    std::uint64_t version = 0;
    for (Message entry(bytes); entry.next();) {
        if (entry.number() == 1) domain = entry.text();
        if (entry.number() == 2) version = entry.value();
    }
    if (domain.empty() || domain == "ai.onnx") found.opset = version;
}

}  // namespace

OnnxFile onnx_from(std::string_view bytes, const std::filesystem::path& path) {
    OnnxFile found;
    try {
        for (Message model(bytes); model.next();) {
            if (model.number() == 7) read_graph(model.block(), found);
            if (model.number() == 8) read_opset(model.block(), found);
        }
        if (found.opset == 0) throw Broken("no opset");
    } catch (const Broken&) {
        throw Refused("cannot load " + path.string() + ": it is no whole ONNX file; export the model again");
    }
    if (!found.elsewhere.empty()) {
        throw Refused(path.string() + " keeps its weights (" + found.elsewhere[0] +
                      " and others) in another file, which its hash does not cover; export the model again, "
                      "into one file");
    }
    if (found.opset > NEWEST_OPSET) {
        throw Refused(path.string() + " is written in ONNX opset " + std::to_string(found.opset) +
                      " and vreid knows 1 to " + std::to_string(NEWEST_OPSET) + "; export the model again");
    }
    return found;
}

OnnxFile read_onnx_file(const std::filesystem::path& path) { return onnx_from(read_bytes(path), path); }

}  // namespace vreid

// OpenVINO on the CPU, set as runtime/engines/openvino.py sets it, so that both give the same numbers.
#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>
#include <sstream>

#include "network.hpp"
#include "onnx_file.hpp"
#include "table.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

std::string dtype_of(const ov::element::Type& type) {
    if (type == ov::element::u8) return "uint8";
    if (type == ov::element::f32) return "float32";
    return type == ov::element::f16 ? "float16" : type.get_type_name();
}

/// A tensor has several names where a node between them did nothing: `declared`, of the manifest, if it is
/// one of them.
Port port_of(const ov::Output<const ov::Node>& found, const std::string& declared) {
    Port port{"?", dtype_of(found.get_element_type()), {}};
    for (const auto& name : found.get_names()) {
        if (port.name == "?" || name < port.name) port.name = name;
    }
    if (found.get_names().count(declared) > 0) port.name = declared;
    for (const auto& size : found.get_partial_shape())
        port.shape.push_back(size.is_dynamic() ? ANY : size.get_length());
    return port;
}

/// The process's one core, never destroyed. A core that goes leaves its thread with a signal stack that is
/// unmapped where cores go in another order than they came, or in another thread (seen of OpenVINO 2026.4).
ov::Core& core() {
    static ov::Core& one = *new ov::Core;
    return one;
}

/// One infer request.
class OpenVino : public Network {
 public:
    OpenVino(const Manifest& manifest, const EngineFile& file, int threads)
        : path_(file.path), input_(manifest.input.name), output_(manifest.output.name) {
        onnx_from(file.bytes, file.path);  // OpenVINO itself runs an opset that it does not know
        const ov::AnyMap settings{
            ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY), ov::num_streams(1),
            ov::inference_num_threads(threads),
            ov::hint::enable_cpu_pinning(false),  // two engines would be pinned to the same core
            ov::hint::inference_precision(
                ov::element::f32)};  // else bfloat16 on a CPU that has it; Q/DQ stays int8
        try {
            // by name: Core::read_model lets every reader try, and TensorFlow's writes on stderr
            const auto reader = ov::frontend::FrontEndManager().load_by_framework("onnx");
            std::istringstream bytes(file.bytes);
            std::istream* stream = &bytes;
            compiled_ = core().compile_model(reader->convert(reader->load(stream)), "CPU", settings);
            request_ = compiled_.create_infer_request();
        } catch (const std::exception& error) {  // ov::Exception, ov::frontend::*Failure
            throw Refused("OpenVINO cannot load " + path_.string() + "; export the model again (" +
                          last_line(error.what()) + ")");
        }
    }

    [[nodiscard]] std::vector<Port> inputs() const override { return ports(compiled_.inputs(), input_); }
    [[nodiscard]] std::vector<Port> outputs() const override { return ports(compiled_.outputs(), output_); }

    const float* run(const void* values, const std::vector<std::int64_t>& shape,
                     std::vector<std::int64_t>& found) override {
        try {
            // OpenVINO takes no const memory; it does not write to an input
            request_.set_input_tensor(ov::Tensor(compiled_.input().get_element_type(),
                                                 ov::Shape(shape.begin(), shape.end()),
                                                 const_cast<void*>(values)));
            request_.infer();
            const ov::Tensor out = request_.get_output_tensor(0);
            const ov::Shape sizes = out.get_shape();
            found.assign(sizes.begin(), sizes.end());
            return out.data<float>();
        } catch (const std::exception& error) {
            throw Refused("OpenVINO cannot run " + path_.string() + "; export the model again (" +
                          last_line(error.what()) + ")");
        }
    }

 private:
    static std::vector<Port> ports(const std::vector<ov::Output<const ov::Node>>& found,
                                   const std::string& declared) {
        std::vector<Port> all;
        for (const auto& one : found) all.push_back(port_of(one, declared));
        return all;
    }

    std::filesystem::path path_;
    std::string input_;
    std::string output_;
    ov::CompiledModel compiled_;
    ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<Network> open_openvino(const Manifest& manifest, const EngineFile& file, int threads) {
    return std::make_unique<OpenVino>(manifest, file, threads);
}

}  // namespace vreid

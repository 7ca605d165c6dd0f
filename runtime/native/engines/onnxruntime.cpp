// ONNX Runtime on the CPU, set as runtime/engines/onnxruntime.py sets it. The official header is compiled
// against, the library is loaded at run time: one of an older or newer release will do, such as the one in
// the Python wheel.
#define ORT_API_MANUAL_INIT
#include <dlfcn.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#include "network.hpp"
#include "onnx_file.hpp"
#include "processor.hpp"
#include "table.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr int OLDEST = 16;  // of the API: what is called below is in it

/// The library that CMake found, or the one that the system has.
void* library() {
    for (const char* name : {VREID_ONNXRUNTIME_LIBRARY, "libonnxruntime.so.1", "libonnxruntime.so"}) {
        if (*name == '\0') continue;
        if (void* found = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return found;  // for the life of the process
    }
    throw Refused("there is no libonnxruntime.so.1 here; install ONNX Runtime or choose another engine");
}

/// Loads the library once and gets the newest interface that both it and the header know.
void open_library() {
    static std::once_flag once;
    std::call_once(once, [] {
        using Base = const OrtApiBase* (*)();
        const auto base = reinterpret_cast<Base>(::dlsym(library(), "OrtGetApiBase"));
        if (base == nullptr)
            throw Refused(
                "this libonnxruntime.so.1 is not ONNX Runtime; install ONNX Runtime or choose another "
                "engine");
        const std::string version =
            base()->GetVersionString();  // 1.23.2: the second number is that of the interface
        const int installed =
            std::atoi(version.c_str() + std::min(version.find('.'), version.size() - 1) + 1);
        const OrtApi* api = base()->GetApi(static_cast<std::uint32_t>(std::min(installed, ORT_API_VERSION)));
        if (api == nullptr || installed < OLDEST) {
            throw Refused("ONNX Runtime " + version + " is older than the 1." + std::to_string(OLDEST) +
                          " that vreid needs; update it or take another engine");
        }
        Ort::InitApi(api);
    });
}

/// The one environment of the process, as ONNX Runtime wants it.
Ort::Env& environment() {
    static Ort::Env one(ORT_LOGGING_LEVEL_ERROR, "vreid");
    return one;
}

std::string dtype_of(ONNXTensorElementDataType kind) {
    switch (kind) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
            return "float32";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
            return "uint8";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
            return "float16";
        default:
            return "other";
    }
}

Port port_of(const std::string& name, const Ort::TypeInfo& type) {
    if (type.GetONNXType() != ONNX_TYPE_TENSOR) return {name, "other", {}};
    const auto info = type.GetTensorTypeAndShapeInfo();
    return {name, dtype_of(info.GetElementType()), info.GetShape()};  // ONNX Runtime too has -1 for any
}

Ort::SessionOptions options_of(int threads, bool exact) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads).SetInterOpNumThreads(1).SetLogSeverityLevel(3);
    options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    // x86 without VNNI adds pairs of INT8 products in 16 bits, which overflow; with this INT8 is exact
    // everywhere. With VNNI it changes no sum and takes half as long again.
    if (exact && !has_vnni()) options.AddConfigEntry("session.x64quantprecision", "1");
    return options;
}

/// With exact INT8, except where ONNX Runtime has no kernel for it: 1.32 has none of QLinearConv on int8.
Ort::Session opened(const EngineFile& file, int threads) {
    try {
        return {environment(), file.bytes.data(), file.bytes.size(), options_of(threads, true)};
    } catch (const Ort::Exception& error) {
        if (error.GetOrtErrorCode() != ORT_NOT_IMPLEMENTED) throw;
        return {environment(), file.bytes.data(), file.bytes.size(), options_of(threads, false)};
    }
}

/// One session; threads are set explicitly and never spin, since an edge box shares its cores with the
/// decoder.
class OnnxRuntime : public Network {
 public:
    OnnxRuntime(const EngineFile& file, int threads) : path_(file.path) {
        onnx_from(file.bytes, file.path);
        try {
            session_ = opened(file, threads);
            Ort::AllocatorWithDefaultOptions allocator;
            for (std::size_t place = 0; place < session_.GetInputCount(); ++place) {
                const std::string name = session_.GetInputNameAllocated(place, allocator).get();
                inputs_.push_back(port_of(name, session_.GetInputTypeInfo(place)));
            }
            for (std::size_t place = 0; place < session_.GetOutputCount(); ++place) {
                const std::string name = session_.GetOutputNameAllocated(place, allocator).get();
                outputs_.push_back(port_of(name, session_.GetOutputTypeInfo(place)));
            }
        } catch (const Ort::Exception& error) {
            throw Refused("ONNX Runtime cannot load " + path_.string() + "; export the model again (" +
                          first_line(error.what()) + ")");
        }
    }

    [[nodiscard]] std::vector<Port> inputs() const override { return inputs_; }
    [[nodiscard]] std::vector<Port> outputs() const override { return outputs_; }

    const float* run(const void* values, const std::vector<std::int64_t>& shape,
                     std::vector<std::int64_t>& found) override {
        const bool bytes = inputs_.at(0).dtype == "uint8";
        std::size_t size = bytes ? 1 : sizeof(float);
        for (const std::int64_t length : shape) size *= static_cast<std::size_t>(length);
        try {
            // ONNX Runtime takes no const memory; it does not write to an input
            const Ort::Value given = Ort::Value::CreateTensor(
                memory_, const_cast<void*>(values), size, shape.data(), shape.size(),
                bytes ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
            const char* input = inputs_[0].name.c_str();
            const char* output = outputs_.at(0).name.c_str();
            given_ = session_.Run(Ort::RunOptions{nullptr}, &input, &given, 1, &output, 1);
            found = given_[0].GetTensorTypeAndShapeInfo().GetShape();
            return given_[0].GetTensorData<float>();
        } catch (const Ort::Exception& error) {
            throw Refused("ONNX Runtime cannot run " + path_.string() + "; export the model again (" +
                          first_line(error.what()) + ")");
        }
    }

 private:
    std::filesystem::path path_;
    Ort::Session session_{nullptr};
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Port> inputs_;
    std::vector<Port> outputs_;
    std::vector<Ort::Value> given_;
};

}  // namespace

std::unique_ptr<Network> open_onnxruntime(const Manifest& /*manifest*/, const EngineFile& file, int threads) {
    open_library();  // before its members, which call it
    return std::make_unique<OnnxRuntime>(file, threads);
}

}  // namespace vreid

// TensorRT: runs a plan that `vreid build` made on this device, on TensorRT 10.3 to 11.
//
// TensorRT's documentation requires an execution context of its own for every captured graph, since a change
// of shape in a context makes the graphs that were captured from it undefined. So there is one context for
// batches of any size, and a second only where a graph of the best batch was captured.

#include <NvInfer.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstddef>
#include <cstring>
#include <mutex>
#include <string>
#include <utility>

#include "built_for.hpp"
#include "network.hpp"
#include "table.hpp"
#include "vreid/errors.hpp"

static_assert(NV_TENSORRT_MAJOR > 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 3),
              "vreid needs TensorRT 10.3 or newer: an older one would take a graph's types for a suggestion");

/// The little of CUDA that the engine needs, each thing freed with its owner.
namespace vreid::cuda {

/// Refused, with CUDA's reason, for what it refuses.
inline void check(cudaError_t error) {
    if (error != cudaSuccess) {
        throw Refused(std::string("CUDA failed (") + cudaGetErrorString(error) +
                      "); free the GPU's memory, run vreid doctor, or take another engine");
    }
}

/// Owns a handle of CUDA and gives it back by `Free`.
template <typename Handle, cudaError_t (*Free)(Handle)>
class Owned {
 public:
    Owned() = default;
    explicit Owned(Handle handle) : handle_(handle) {}
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
        if (handle_ != nullptr) Free(handle_);
    }

    [[nodiscard]] Handle get() const { return handle_; }

 private:
    Handle handle_ = nullptr;
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using GraphLaunch = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using DeviceBytes = Owned<void*, cudaFree>;
using PinnedBytes =
    Owned<void*, cudaFreeHost>;  // of the host: only these are copied while other work goes on

inline Stream new_stream() {
    cudaStream_t handle = nullptr;
    check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking));
    return Stream(handle);
}

/// One that a waiting thread sleeps on, since an edge device needs its cores.
inline Event new_event() {
    cudaEvent_t handle = nullptr;
    check(cudaEventCreateWithFlags(&handle, cudaEventBlockingSync | cudaEventDisableTiming));
    return Event(handle);
}

inline DeviceBytes device_bytes(std::size_t size) {
    void* address = nullptr;
    check(cudaMalloc(&address, size));
    return DeviceBytes(address);
}

inline PinnedBytes pinned_bytes(std::size_t size) {
    void* address = nullptr;
    check(cudaHostAlloc(&address, size, cudaHostAllocDefault));
    return PinnedBytes(address);
}

}  // namespace vreid::cuda

namespace vreid {
namespace {

/// Keeps the first error, since what comes after it follows from it; nothing is printed.
class Listener : public nvinfer1::ILogger {
 public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR) return;
        const std::lock_guard<std::mutex> held(lock_);
        if (error_.empty()) error_ = first_line(message);
    }

    /// The reason, and silence for the next.
    std::string reason() {
        const std::lock_guard<std::mutex> held(lock_);
        std::string reason = error_.empty() ? "it gave no reason" : error_;
        error_.clear();
        return reason;
    }

 private:
    std::mutex lock_;
    std::string error_;
};

#define VREID_TEXT_OF(number) #number
#define VREID_TEXT(number) VREID_TEXT_OF(number)

/// TensorRT's library, of the release of the header: the one that the system knows, else the one that CMake
/// found. Loaded when it is needed, so that a package holds no path of it.
void* library() {
    for (const char* name : {"libnvinfer.so." VREID_TEXT(NV_TENSORRT_MAJOR), VREID_TENSORRT_LIBRARY}) {
        if (void* found = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return found;  // for the life of the process
    }
    throw Refused("there is no libnvinfer.so." VREID_TEXT(
        NV_TENSORRT_MAJOR) " here; install TensorRT, or put its folder into LD_LIBRARY_PATH");
}

/// A function of TensorRT by its name.
void* symbol(const char* name) {
    static void* const loaded = library();
    if (void* found = ::dlsym(loaded, name)) return found;
    throw Refused(std::string("this libnvinfer has no ") + name + "; install TensorRT 10.3 or newer");
}

/// The first device, as runtime/engines/devices.py names it.
MachineKey machine_key() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        throw Refused(
            "there is no NVIDIA device here that the driver knows, and a TensorRT engine runs on nothing "
            "else; take the manifest of the ONNX it was built from, or see vreid doctor");
    }
    cudaDeviceProp device{};
    int driver = 0;
    cuda::check(cudaGetDeviceProperties(&device, 0));
    cuda::check(cudaDriverGetVersion(&driver));
    const auto version_of = reinterpret_cast<std::int32_t (*)()>(symbol("getInferLibVersion"));
    const int version = version_of();  // 100300 is 10.3.0
    const auto dotted = [](int a, int b) { return std::to_string(a) + "." + std::to_string(b); };
    MachineKey key{{"device", device.name},
                   {"compute_capability", dotted(device.major, device.minor)},
                   {"multiprocessors", std::to_string(device.multiProcessorCount)}};
    if (const auto name = board()) key.emplace_back("board", *name);
    key.emplace_back("tensorrt",
                     dotted(version / 10000, version / 100 % 100) + "." + std::to_string(version % 100));
    key.emplace_back("driver", dotted(driver / 1000, driver % 1000 / 10));
    return key;
}

Port port_of(const nvinfer1::ICudaEngine& plan, const char* name) {
    const auto kind = plan.getTensorDataType(name);
    const nvinfer1::Dims shape = plan.getTensorShape(name);  // -1 is any here too
    return {name,
            kind == nvinfer1::DataType::kUINT8   ? "uint8"
            : kind == nvinfer1::DataType::kFLOAT ? "float32"
                                                 : "other",
            {shape.d, shape.d + shape.nbDims}};
}

/// One plan, one stream, and buffers for the largest batch, made once; callers on several threads take turns.
class TensorRt : public Engine {
 public:
    TensorRt(Manifest manifest, const EngineFile& file) : manifest_(std::move(manifest)), path_(file.path) {
        cuda::check(cudaSetDevice(0));
        load(file.bytes);
        refuse_plan();
        stream_ = cuda::new_stream();
        done_ = cuda::new_event();
        const auto most = static_cast<std::size_t>(manifest_.input.batch[2]);
        pixels_ = cuda::pinned_bytes(most * image_bytes());
        features_ = cuda::pinned_bytes(most * feature_bytes());
        in_ = cuda::device_bytes(most * image_bytes());
        out_ = cuda::device_bytes(most * feature_bytes());
        context_ = opened();
        capture(manifest_.input.batch[1]);
    }

    void infer(const std::uint8_t* pixels, int batch, float* features) override {
        if (batch > manifest_.input.batch[2]) {
            throw Refused(manifest_.name + " was built for at most " +
                          std::to_string(manifest_.input.batch[2]) + " images at once, not " +
                          std::to_string(batch));
        }
        const std::lock_guard<std::mutex> held(lock_);
        const auto count = static_cast<std::size_t>(batch);
        cuda::check(cudaSetDevice(0));  // of this thread
        std::memcpy(pixels_.get(), pixels, count * image_bytes());
        if (best_graph_.get() != nullptr && batch == manifest_.input.batch[1]) {
            cuda::check(cudaGraphLaunch(best_graph_.get(), stream_.get()));
        } else {
            shape(*context_, batch);
            launch(*context_, count);
        }
        wait();
        std::memcpy(features, features_.get(), count * feature_bytes());
    }

 private:
    [[nodiscard]] std::size_t image_bytes() const {
        return static_cast<std::size_t>(manifest_.input.height) *
               static_cast<std::size_t>(manifest_.input.width) * 3;
    }

    [[nodiscard]] std::size_t feature_bytes() const {
        return static_cast<std::size_t>(manifest_.output.dim) * sizeof(float);
    }

    void load(const std::string& bytes) {
        const auto create =
            reinterpret_cast<void* (*)(void*, std::int32_t)>(symbol("createInferRuntime_INTERNAL"));
        runtime_.reset(static_cast<nvinfer1::IRuntime*>(create(&listener_, NV_TENSORRT_VERSION)));
        if (runtime_ != nullptr) {
            const auto core = manifest_.built_for->find("dla");
            if (core != manifest_.built_for->end()) runtime_->setDLACore(core->second == "1" ? 1 : 0);
            plan_.reset(runtime_->deserializeCudaEngine(bytes.data(), bytes.size()));
        }
        if (plan_ == nullptr) {
            throw Refused("TensorRT cannot load " + path_.string() + " (" + listener_.reason() +
                          "); run vreid build again here");
        }
    }

    void refuse_plan() const {
        std::vector<Port> inputs;
        std::vector<Port> outputs;
        for (std::int32_t place = 0; place < plan_->getNbIOTensors(); ++place) {
            const char* name = plan_->getIOTensorName(place);
            const bool into = plan_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
            (into ? inputs : outputs).push_back(port_of(*plan_, name));
        }
        refuse_ports(manifest_, path_, inputs, outputs);
        const char* name = manifest_.input.name.c_str();
        const auto least = plan_->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMIN).d[0];
        const auto most = plan_->getProfileShape(name, 0, nvinfer1::OptProfileSelector::kMAX).d[0];
        if (least > manifest_.input.batch[0] || most < manifest_.input.batch[2]) {
            throw Refused(path_.string() + " takes " + std::to_string(least) + " to " + std::to_string(most) +
                          " images and its manifest says " + std::to_string(manifest_.input.batch[0]) +
                          " to " + std::to_string(manifest_.input.batch[2]) + "; run vreid build again");
        }
    }

    std::unique_ptr<nvinfer1::IExecutionContext> opened() {
        std::unique_ptr<nvinfer1::IExecutionContext> context(plan_->createExecutionContext());
        if (context == nullptr) {
            throw Refused("TensorRT has no room for " + manifest_.name + " (" + listener_.reason() +
                          "); free the GPU's memory");
        }
        context->setTensorAddress(manifest_.input.name.c_str(), in_.get());
        context->setTensorAddress(manifest_.output.name.c_str(), out_.get());
        return context;
    }

    void shape(nvinfer1::IExecutionContext& context, int batch) {
        const auto& spec = manifest_.input;
        if (!context.setInputShape(spec.name.c_str(), nvinfer1::Dims4(batch, spec.height, spec.width, 3)))
            throw failed();
    }

    void launch(nvinfer1::IExecutionContext& context, std::size_t count) {
        cuda::check(cudaMemcpyAsync(in_.get(), pixels_.get(), count * image_bytes(), cudaMemcpyHostToDevice,
                                    stream_.get()));
        if (!context.enqueueV3(stream_.get())) throw failed();
        cuda::check(cudaMemcpyAsync(features_.get(), out_.get(), count * feature_bytes(),
                                    cudaMemcpyDeviceToHost, stream_.get()));
    }

    void wait() {
        cuda::check(cudaEventRecord(done_.get(), stream_.get()));
        cuda::check(cudaEventSynchronize(done_.get()));
    }

    /// The best batch as one graph; without it, where something in it cannot be captured, DLA for one.
    void capture(int best) {
        std::unique_ptr<nvinfer1::IExecutionContext> context = opened();
        const auto count = static_cast<std::size_t>(best);
        shape(*context, best);
        std::memset(pixels_.get(), 0, count * image_bytes());
        launch(*context, count);  // what TensorRT does only once it does here, outside the capture
        wait();
        cuda::check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal));
        bool captured = true;
        try {
            launch(*context, count);
        } catch (const Refused&) {
            listener_.reason();
            captured = false;
        }
        cudaGraph_t raw = nullptr;
        captured = cudaStreamEndCapture(stream_.get(), &raw) == cudaSuccess && captured;
        const cuda::Graph graph(raw);
        cudaGraphExec_t launcher = nullptr;
        if (captured && cudaGraphInstantiate(&launcher, graph.get(), 0) == cudaSuccess) {
            best_graph_ = cuda::GraphLaunch(launcher);
            captured_from_ = std::move(context);
        } else {
            cudaGetLastError();  // else the next call would report it
        }
    }

    Refused failed() {
        return Refused("TensorRT cannot run " + manifest_.name + " (" + listener_.reason() +
                       "); run vreid build again here");
    }

    Manifest manifest_;
    std::filesystem::path path_;
    std::mutex lock_;
    Listener listener_;  // outlives what it listens to
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> plan_;
    cuda::Stream stream_;
    cuda::Event done_;
    cuda::PinnedBytes pixels_, features_;
    cuda::DeviceBytes in_, out_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::unique_ptr<nvinfer1::IExecutionContext> captured_from_;  // lives as long as its graph
    cuda::GraphLaunch best_graph_;
};

}  // namespace

std::unique_ptr<Engine> open_tensorrt(const Manifest& manifest, const EngineFile& file) {
    if (!manifest.built_for)
        refuse_elsewhere(manifest, file.path, {});  // refused before a device is looked for
    refuse_elsewhere(manifest, file.path, machine_key());
    return std::make_unique<TensorRt>(manifest, file);
}

}  // namespace vreid

// The little of CUDA that an engine needs, each thing freed with its owner.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <utility>

#include "vreid/errors.hpp"

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
    Owned<void*, cudaFreeHost>;  // of the host: these alone are copied while other work goes on

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

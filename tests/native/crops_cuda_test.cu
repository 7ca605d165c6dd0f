// The CUDA kernel gives the pixels of the host's function, which the other tests hold against OpenCV. Alone
// in a program that needs the CUDA runtime and nothing else, so that it can be carried to a machine with a
// device. Exit 77: no device.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "vreid/crops_cuda.hpp"

namespace {

constexpr int SKIPPED = 77;
constexpr int WIDTH = 1920;
constexpr int HEIGHT = 1080;
constexpr int PITCH = 2048;  // NV12 rows, as decoders pad them

void check(cudaError_t error) {
    if (error != cudaSuccess) {
        std::printf("CUDA failed: %s\n", cudaGetErrorString(error));
        std::exit(1);
    }
}

std::vector<std::uint8_t> noise(std::size_t size) {
    std::mt19937 random(0);
    std::vector<std::uint8_t> bytes(size);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    return bytes;
}

std::uint8_t* on_device(std::size_t size) {
    void* address = nullptr;
    check(cudaMalloc(&address, size));
    return static_cast<std::uint8_t*>(address);
}

std::vector<vreid::PixelBox> boxes_of(int count) {
    std::mt19937 random(1);
    const auto below = [&random](int most) {
        return static_cast<int>(random() % static_cast<unsigned>(most));
    };
    std::vector<vreid::PixelBox> boxes{
        {0, 0, WIDTH, HEIGHT}, {5, 7, 256, 256}, {9, 3, 128, 128}, {WIDTH - 1, HEIGHT - 1, 1, 1}};
    while (static_cast<int>(boxes.size()) < count) {
        const int left = below(WIDTH - 2);
        const int top = below(HEIGHT - 2);
        boxes.push_back(
            {left, top, 1 + below(std::min(600, WIDTH - left)), 1 + below(std::min(500, HEIGHT - top))});
    }
    return boxes;
}

/// How many bytes of the kernel's batch differ from the host's; times the kernel too.
template <typename Picture>
long differences(const char* name, const Picture& there, const Picture& here, int height, int width) {
    const auto boxes = boxes_of(100);  // more than one launch
    const std::size_t size =
        boxes.size() * static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3;
    std::uint8_t* pixels = on_device(size);
    cudaStream_t stream = nullptr;
    check(cudaStreamCreate(&stream));
    std::vector<std::uint8_t> found(size);
    vreid::batch_of_boxes(there, boxes, height, width, pixels, stream);
    check(cudaMemcpyAsync(found.data(), pixels, size, cudaMemcpyDeviceToHost, stream));
    check(cudaStreamSynchronize(stream));
    long wrong = 0;
    std::size_t place = 0;
    for (const auto& box : boxes) {
        const auto how = vreid::stretch_of(box, width, height);
        for (int y = 0; y < height; ++y) {
            for (int x = 0; x < width; ++x) {
                const auto wanted = vreid::stretched_pixel(here, how, x, y);
                const int values[] = {wanted.blue, wanted.green, wanted.red};
                for (const int value : values) wrong += found[place++] != value ? 1 : 0;
            }
        }
    }
    cudaEvent_t began = nullptr;
    cudaEvent_t ended = nullptr;
    check(cudaEventCreate(&began));
    check(cudaEventCreate(&ended));
    check(cudaEventRecord(began, stream));
    constexpr int RUNS = 100;
    for (int run = 0; run < RUNS; ++run) vreid::batch_of_boxes(there, boxes, height, width, pixels, stream);
    check(cudaEventRecord(ended, stream));
    check(cudaEventSynchronize(ended));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, began, ended));
    const double each = static_cast<double>(milliseconds) / RUNS;
    std::printf("%s to %d x %d: %ld of %zu bytes differ; %.1f us for %zu crops\n", name, height, width, wrong,
                size, 1000 * each, boxes.size());
    check(cudaEventDestroy(began));
    check(cudaEventDestroy(ended));
    check(cudaStreamDestroy(stream));
    check(cudaFree(pixels));
    return wrong;
}

}  // namespace

int main() {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
        std::printf("no CUDA device\n");
        return SKIPPED;
    }
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0));
    std::printf("%s\n", device.name);
    const auto bytes = noise(static_cast<std::size_t>(WIDTH) * HEIGHT * 3);
    std::uint8_t* there = on_device(bytes.size());
    check(cudaMemcpy(there, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    const vreid::BgrPicture bgr_there{there, WIDTH * 3};
    const vreid::BgrPicture bgr_here{bytes.data(), WIDTH * 3};
    const std::size_t luma = static_cast<std::size_t>(PITCH) * HEIGHT;
    const vreid::Nv12Picture nv12_there{there, PITCH, there + luma, PITCH};
    const vreid::Nv12Picture nv12_here{bytes.data(), PITCH, bytes.data() + luma, PITCH};
    long wrong = 0;
    for (const int side : {128, 256}) {
        wrong += differences("BGR", bgr_there, bgr_here, side, side);
        wrong += differences("NV12", nv12_there, nv12_here, side, side);
    }
    check(cudaFree(there));
    return wrong == 0 ? 0 : 1;
}

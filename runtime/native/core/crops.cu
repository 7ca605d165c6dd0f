// Cuts, converts and resizes in one kernel, a thread a pixel; the arithmetic is that of vreid/pixel.hpp,
// which is tested on the CPU.
#include <algorithm>
#include <string>

#include "vreid/crops_cuda.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr int THREADS = 256;
constexpr int AT_ONCE =
    64;  // boxes of one launch: they travel as an argument of the kernel, which may have 4 KB

struct Stretches {
    Stretch of[AT_ONCE];
};

template <typename Picture>
__global__ void stretch_boxes(const Picture frame, const Stretches stretches, std::uint8_t* pixels) {
    const Stretch& how = stretches.of[blockIdx.y];
    const int place = static_cast<int>(blockIdx.x) * THREADS + static_cast<int>(threadIdx.x);
    const int size = how.width * how.height;
    if (place >= size) return;
    const Bgr found = stretched_pixel(frame, how, place % how.width, place / how.width);
    std::uint8_t* pixel = pixels + (static_cast<std::size_t>(blockIdx.y) * size + place) * 3;
    pixel[0] = static_cast<std::uint8_t>(found.blue);
    pixel[1] = static_cast<std::uint8_t>(found.green);
    pixel[2] = static_cast<std::uint8_t>(found.red);
}

template <typename Picture>
void launch(const Picture& frame, const std::vector<PixelBox>& boxes, int height, int width,
            std::uint8_t* pixels, cudaStream_t stream) {
    const auto size = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const auto blocks = static_cast<unsigned>((size + THREADS - 1) / THREADS);
    for (std::size_t start = 0; start < boxes.size(); start += AT_ONCE) {
        const std::size_t count = std::min<std::size_t>(AT_ONCE, boxes.size() - start);
        Stretches stretches{};
        for (std::size_t place = 0; place < count; ++place) {
            stretches.of[place] = stretch_of(boxes[start + place], width, height);
        }
        stretch_boxes<<<dim3(blocks, static_cast<unsigned>(count)), THREADS, 0, stream>>>(
            frame, stretches, pixels + start * size * 3);
        const cudaError_t error = cudaGetLastError();
        if (error != cudaSuccess) {
            throw Refused(std::string("CUDA cannot cut crops (") + cudaGetErrorString(error) +
                          "); build for this device with -DCMAKE_CUDA_ARCHITECTURES, or cut on the CPU");
        }
    }
}

}  // namespace

void batch_of_boxes(const BgrPicture& frame, const std::vector<PixelBox>& boxes, int height, int width,
                    std::uint8_t* pixels, cudaStream_t stream) {
    launch(frame, boxes, height, width, pixels, stream);
}

void batch_of_boxes(const Nv12Picture& frame, const std::vector<PixelBox>& boxes, int height, int width,
                    std::uint8_t* pixels, cudaStream_t stream) {
    launch(frame, boxes, height, width, pixels, stream);
}

}  // namespace vreid

// The one resize on a CUDA device: boxes of a frame that lies there become a batch there. Built where nvcc
// is.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "vreid/export.hpp"
#include "vreid/pixel.hpp"

namespace vreid {

/// Boxes of one frame, BGR or NV12 -> (N, height, width, 3) uint8 BGR at `pixels`, in the order of `stream`:
/// cut, converted and resized by one kernel, equal to batch_of_boxes of preprocess.hpp. The frame and
/// `pixels` lie on the device, the boxes on the host; they are within the frame and not empty, as pixels_of
/// makes them. Refused for what CUDA refuses.
VREID_API void batch_of_boxes(const BgrPicture& frame, const std::vector<PixelBox>& boxes, int height,
                              int width, std::uint8_t* pixels, cudaStream_t stream);
VREID_API void batch_of_boxes(const Nv12Picture& frame, const std::vector<PixelBox>& boxes, int height,
                              int width, std::uint8_t* pixels, cudaStream_t stream);

}  // namespace vreid

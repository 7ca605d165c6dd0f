// The one resize of the project, on the CPU; everything after it is inside the graph.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <vector>

#include "vreid/export.hpp"

namespace vreid {

/// x1 y1 x2 y2 in pixels.
struct Box {
    float x1, y1, x2, y2;
};

/// The pixels that `box` means: grown by `margin` of its sides, floor and ceil, clipped to the picture, never
/// empty.
VREID_API cv::Rect pixels_of(const Box& box, cv::Size picture, float margin = 0);

/// A view of the pixels of `box` in `image`, as runtime/crops.py cuts out.
VREID_API cv::Mat cut_out(const cv::Mat& image, const Box& box, float margin = 0);

/// N pictures of any size, BGR -> (N, height, width, 3) uint8 at `pixels`: cv2 INTER_LINEAR, the aspect
/// stretched. Equal to models/preprocess.py.
VREID_API void batch_of(const std::vector<cv::Mat>& crops, int height, int width, std::uint8_t* pixels);

/// N boxes of one BGR frame -> (N, height, width, 3), each resized straight into its row; on up to `threads`
/// threads.
VREID_API void batch_of_boxes(const cv::Mat& frame, const std::vector<Box>& boxes, float margin, int height,
                              int width, std::uint8_t* pixels, int threads = 1);

/// A picture as a decoder gives it: `luma` (H, W) and `chroma` (H / 2, W / 2) pairs of U and V; BT.601 in
/// video range.
struct Nv12 {
    cv::Mat luma;    // CV_8UC1
    cv::Mat chroma;  // CV_8UC2
};

/// The same for a frame in NV12: only the pixels within the boxes are converted. Equal to
/// cv::cvtColorTwoPlane, then cutting.
VREID_API void batch_of_boxes(const Nv12& frame, const std::vector<Box>& boxes, float margin, int height,
                              int width, std::uint8_t* pixels, int threads = 1);

}  // namespace vreid

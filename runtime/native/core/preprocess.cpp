// The one resize on the CPU: OpenCV writes straight into the rows of the batch, and cutting copies nothing.
#include "vreid/preprocess.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <opencv2/imgproc.hpp>

#include "stretch.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr int CHANNELS = 3;

/// The row `place` of a batch, without copying.
cv::Mat row_of(std::uint8_t* pixels, std::size_t place, int height, int width) {
    const auto size = static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * CHANNELS;
    return {height, width, CV_8UC3, pixels + place * size};
}

/// `picture` resized into `row`, whose memory stays where it is.
void resize_into(const cv::Mat& picture, cv::Mat row) {
    if (picture.empty() || picture.type() != CV_8UC3)
        throw Refused("a crop must be a picture in BGR of 8 bits");
    if (picture.size() == row.size()) {
        picture.copyTo(row);
    } else {
        stretch(picture, row);
    }
}

/// Calls `work` for 0..count-1, on up to `threads` threads.
void for_each(std::size_t count, int threads, const std::function<void(std::size_t)>& work) {
    if (threads <= 1 || count <= 1) {
        for (std::size_t place = 0; place < count; ++place) work(place);
        return;
    }
    const auto all = [&work](const cv::Range& range) {
        for (int place = range.start; place < range.end; ++place) work(static_cast<std::size_t>(place));
    };
    cv::parallel_for_(cv::Range(0, static_cast<int>(count)), all, threads);
}

void refuse_frame(const Nv12& frame) {
    const cv::Size size = frame.luma.size();
    const bool types = frame.luma.type() == CV_8UC1 && frame.chroma.type() == CV_8UC2;
    if (!types || frame.luma.empty() || size.width % 2 != 0 || size.height % 2 != 0 ||
        frame.chroma.size() != size / 2) {
        throw Refused(
            "a frame in NV12 has even sides, luma (H, W) of 8 bits and chroma (H / 2, W / 2) of two times 8");
    }
}

}  // namespace

cv::Rect pixels_of(const Box& box, cv::Size picture, float margin) {
    const float across = margin * (box.x2 - box.x1);
    const float down = margin * (box.y2 - box.y1);
    // the order of the clamps is Python's: np.clip(x, least, most) with least above most gives most
    const auto clipped = [](float value, int least, int most) {
        return static_cast<int>(
            std::min(std::max(value, static_cast<float>(least)), static_cast<float>(most)));
    };
    const int left = clipped(std::floor(box.x1 - across), 0, picture.width - 1);
    const int top = clipped(std::floor(box.y1 - down), 0, picture.height - 1);
    const int right = clipped(std::ceil(box.x2 + across), left + 1, picture.width);
    const int bottom = clipped(std::ceil(box.y2 + down), top + 1, picture.height);
    return {left, top, right - left, bottom - top};
}

cv::Mat cut_out(const cv::Mat& image, const Box& box, float margin) {
    return image(pixels_of(box, image.size(), margin));
}

void batch_of(const std::vector<cv::Mat>& crops, int height, int width, std::uint8_t* pixels) {
    for (std::size_t place = 0; place < crops.size(); ++place) {
        resize_into(crops[place], row_of(pixels, place, height, width));
    }
}

void batch_of_boxes(const cv::Mat& frame, const std::vector<Box>& boxes, float margin, int height, int width,
                    std::uint8_t* pixels, int threads) {
    for_each(boxes.size(), threads, [&](std::size_t place) {
        resize_into(cut_out(frame, boxes[place], margin), row_of(pixels, place, height, width));
    });
}

void batch_of_boxes(const Nv12& frame, const std::vector<Box>& boxes, float margin, int height, int width,
                    std::uint8_t* pixels, int threads) {
    refuse_frame(frame);
    for_each(boxes.size(), threads, [&](std::size_t place) {
        const cv::Rect wanted = pixels_of(boxes[place], frame.luma.size(), margin);
        // two by two pixels share their colour: convert from even to even, then cut
        const cv::Point start(wanted.x & ~1, wanted.y & ~1);
        const cv::Point end((wanted.br().x + 1) & ~1, (wanted.br().y + 1) & ~1);
        cv::Mat part;
        cv::cvtColorTwoPlane(frame.luma(cv::Rect(start, end)), frame.chroma(cv::Rect(start / 2, end / 2)),
                             part, cv::COLOR_YUV2BGR_NV12);
        resize_into(part(wanted - start), row_of(pixels, place, height, width));
    });
}

}  // namespace vreid

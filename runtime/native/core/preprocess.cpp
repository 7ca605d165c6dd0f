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
    if (picture.empty() || picture.dims != 2 || picture.type() != CV_8UC3)
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

/// (0, 0) for what is not a picture of rows and columns.
cv::Size size_of(const cv::Mat& image) { return image.dims == 2 ? image.size() : cv::Size(); }

void refuse_frame(const Nv12& frame) {
    const auto is = [](const cv::Mat& plane, int type) {
        return !plane.empty() && plane.dims == 2 && plane.type() == type;
    };
    const bool planes = is(frame.luma, CV_8UC1) && is(frame.chroma, CV_8UC2);
    const cv::Size size = planes ? frame.luma.size() : cv::Size();
    if (!planes || size.width % 2 != 0 || size.height % 2 != 0 || frame.chroma.size() != size / 2) {
        throw Refused(
            "a frame in NV12 has even sides, luma (H, W) of 8 bits and chroma (H / 2, W / 2) of two times 8");
    }
}

}  // namespace

cv::Rect pixels_of(const Box& box, cv::Size picture, float margin) {
    if (picture.width < 1 || picture.height < 1) {
        throw Refused("a box was to be cut out of an empty picture; pass a frame with pixels");
    }
    const float across = margin * (box.x2 - box.x1);
    const float down = margin * (box.y2 - box.y1);
    for (const float number : {box.x1, box.y1, box.x2, box.y2, across, down}) {
        if (!std::isfinite(number)) {
            throw Refused("a box or its margin is NaN or infinite; leave such detections out");
        }
    }
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
    return image(pixels_of(box, size_of(image), margin));
}

void batch_of(const std::vector<cv::Mat>& crops, int height, int width, std::uint8_t* pixels) {
    for (std::size_t place = 0; place < crops.size(); ++place) {
        resize_into(crops[place], row_of(pixels, place, height, width));
    }
}

void batch_of_boxes(const cv::Mat& frame, const std::vector<Box>& boxes, float margin, int height, int width,
                    std::uint8_t* pixels, int threads) {
    std::vector<cv::Mat> crops;  // all of them first: no row is written when one is refused
    for (const Box& box : boxes) crops.push_back(cut_out(frame, box, margin));
    for_each(boxes.size(), threads,
             [&](std::size_t place) { resize_into(crops[place], row_of(pixels, place, height, width)); });
}

void batch_of_boxes(const Nv12& frame, const std::vector<Box>& boxes, float margin, int height, int width,
                    std::uint8_t* pixels, int threads) {
    refuse_frame(frame);
    std::vector<cv::Rect> cuts;
    for (const Box& box : boxes) cuts.push_back(pixels_of(box, frame.luma.size(), margin));
    for_each(boxes.size(), threads, [&](std::size_t place) {
        const cv::Rect& wanted = cuts[place];
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

// One pixel of the one resize: the fixed-point arithmetic of OpenCV's INTER_LINEAR and of its NV12
// conversion, the same on the host and on a CUDA device, so that the kernel's numbers are tested without
// a GPU.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define VREID_ANYWHERE __host__ __device__
#else
#define VREID_ANYWHERE
#endif

namespace vreid {

/// Whole pixels of a picture; it is never empty.
struct PixelBox {
    int left, top, width, height;
};

/// The two source places that make a place, and their weights in 1 / 2048.
struct Tap {
    int first, second, weight, other;
};

struct Bgr {
    int blue, green, red;
};

namespace pixel {

constexpr float ONE = 2048;

/// Source pixels for each pixel; as cv::resize computes it.
VREID_ANYWHERE inline double scale_of(int few, int many) { return 1.0 / (static_cast<double>(many) / few); }

/// Place `to` from sources that lie `scale` apart, as cv::resize maps it: in double, then float.
VREID_ANYWHERE inline Tap tap_at(int to, double scale) {
    const auto middle = static_cast<float>((to + 0.5) * scale - 0.5);
    const float below = floorf(middle);
    const auto first = static_cast<int>(below);
    const float share = middle - below;
    return {first, first + 1, static_cast<int>(rintf((1.0F - share) * ONE)),
            static_cast<int>(rintf(share * ONE))};
}

/// Of a column, of `few`: beyond the border its one pixel counts whole.
VREID_ANYWHERE inline Tap column_tap(int to, int few, double scale) {
    const Tap tap = tap_at(to, scale);
    if (tap.first < 0) return {0, 0, static_cast<int>(ONE), 0};
    if (tap.second >= few) return {few - 1, few - 1, static_cast<int>(ONE), 0};
    return tap;
}

/// Of a row, of `few`: beyond the border the weights stay and the row is repeated.
VREID_ANYWHERE inline Tap row_tap(int to, int few, double scale) {
    Tap tap = tap_at(to, scale);
    tap.first = tap.first < 0 ? 0 : tap.first;
    tap.second = tap.second >= few ? few - 1 : tap.second;
    return tap;
}

VREID_ANYWHERE inline int blend(int a, int b, int c, int d, const Tap& column, const Tap& row) {
    const int above = (a * column.weight + b * column.other) >> 4;
    const int below = (c * column.weight + d * column.other) >> 4;
    return (((row.weight * above) >> 16) + ((row.other * below) >> 16) + 2) >> 2;
}

VREID_ANYWHERE inline int byte_of(int value) { return value < 0 ? 0 : value > 255 ? 255 : value; }

}  // namespace pixel

/// A picture of three bytes a pixel, rows `pitch` bytes apart.
struct BgrPicture {
    const std::uint8_t* pixels;
    std::size_t pitch;

    VREID_ANYWHERE Bgr at(int x, int y) const {
        const std::uint8_t* found =
            pixels + static_cast<std::size_t>(y) * pitch + static_cast<std::size_t>(x) * 3;
        return {found[0], found[1], found[2]};
    }
};

/// A picture as a decoder gives it: luma, and pairs of U and V for two by two pixels. ITU-R BT.601, video
/// range; the numbers are those of the standard in 1 / 2^20, as OpenCV rounds them.
struct Nv12Picture {
    const std::uint8_t* luma;
    std::size_t luma_pitch;
    const std::uint8_t* chroma;
    std::size_t chroma_pitch;

    VREID_ANYWHERE Bgr at(int x, int y) const {
        const int bright = luma[static_cast<std::size_t>(y) * luma_pitch + static_cast<std::size_t>(x)] - 16;
        const std::uint8_t* pair =
            chroma + static_cast<std::size_t>(y / 2) * chroma_pitch + static_cast<std::size_t>(x / 2) * 2;
        const int u = pair[0] - 128;
        const int v = pair[1] - 128;
        const int light = (bright < 0 ? 0 : bright) * 1220542 + (1 << 19);
        return {pixel::byte_of((light + 2116026 * u) >> 20),
                pixel::byte_of((light - 409993 * u - 852492 * v) >> 20),
                pixel::byte_of((light + 1673527 * v) >> 20)};
    }
};

/// How a box becomes `width` x `height`; what all its pixels share is computed once.
struct Stretch {
    PixelBox box;
    int width, height;
    double scale_x, scale_y;
};

VREID_ANYWHERE inline Stretch stretch_of(const PixelBox& box, int width, int height) {
    return {box, width, height, pixel::scale_of(box.width, width), pixel::scale_of(box.height, height)};
}

/// Pixel (x, y) of what a box of `picture` is stretched to.
template <typename Picture>
VREID_ANYWHERE Bgr stretched_pixel(const Picture& picture, const Stretch& how, int x, int y) {
    const PixelBox& box = how.box;
    if (box.width == how.width && box.height == how.height) return picture.at(box.left + x, box.top + y);
    Tap column = pixel::column_tap(x, box.width, how.scale_x);
    Tap row = pixel::row_tap(y, box.height, how.scale_y);
    const bool halved =
        box.width == 2 * how.width && box.height == 2 * how.height;  // OpenCV takes the mean of four
    if (halved) {
        column = {2 * x, 2 * x + 1, 1, 1};
        row = {2 * y, 2 * y + 1, 1, 1};
    }
    const Bgr a = picture.at(box.left + column.first, box.top + row.first);
    const Bgr b = picture.at(box.left + column.second, box.top + row.first);
    const Bgr c = picture.at(box.left + column.first, box.top + row.second);
    const Bgr d = picture.at(box.left + column.second, box.top + row.second);
    if (halved) {
        return {(a.blue + b.blue + c.blue + d.blue + 2) >> 2,
                (a.green + b.green + c.green + d.green + 2) >> 2, (a.red + b.red + c.red + d.red + 2) >> 2};
    }
    return {pixel::blend(a.blue, b.blue, c.blue, d.blue, column, row),
            pixel::blend(a.green, b.green, c.green, d.green, column, row),
            pixel::blend(a.red, b.red, c.red, d.red, column, row)};
}

}  // namespace vreid

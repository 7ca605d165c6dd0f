// How pictures go into a YOLOX and boxes come out of its rows.
#include "yolox.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <opencv2/imgproc.hpp>

namespace vreid::watch {
namespace {

constexpr std::array<int, 3> kStrides{8, 16, 32};
constexpr std::array<int, 4> kVehicles{2, 3, 5, 7};  // COCO: car, motorcycle, bus, truck
constexpr std::uint8_t kGrey = 114;                  // fills the letterbox
constexpr double kShared = 0.25;                     // share of a tile's side that its neighbour sees too
constexpr double kEdge = 0.02;  // share of a tile's side within which a box counts as cut off

int round_even(double value) { return static_cast<int>(std::nearbyint(value)); }  // as Python rounds

}  // namespace

std::vector<View> views_of(cv::Size picture, int tiles) {
    std::vector<View> views{{0, 0, picture.width, picture.height, {}}};
    if (tiles <= 1) return views;
    const double parts = tiles - (tiles - 1) * kShared;
    const double tall = picture.height / parts, wide = picture.width / parts;
    for (int row = 0; row < tiles; ++row) {
        for (int column = 0; column < tiles; ++column) {
            const int left = round_even(column * wide * (1 - kShared)),
                      top = round_even(row * tall * (1 - kShared));
            const int right = std::min(picture.width, round_even(left + wide));
            const int bottom = std::min(picture.height, round_even(top + tall));
            views.push_back(
                {left, top, right, bottom, {column > 0, row > 0, column < tiles - 1, row < tiles - 1}});
        }
    }
    return views;
}

double letterboxed(const cv::Mat& image, cv::Size letter, float* planes) {
    const double scale = std::min(static_cast<double>(letter.height) / image.rows,
                                  static_cast<double>(letter.width) / image.cols);
    const cv::Size size(std::max(1, static_cast<int>(image.cols * scale)),
                        std::max(1, static_cast<int>(image.rows * scale)));
    cv::Mat canvas(letter, CV_8UC3, cv::Scalar::all(kGrey));
    cv::resize(image, canvas(cv::Rect(cv::Point(), size)), size, 0, 0, cv::INTER_LINEAR);
    std::vector<cv::Mat> channels;
    cv::split(canvas, channels);
    for (const cv::Mat& channel : channels) {
        channel.convertTo(cv::Mat(letter, CV_32F, planes), CV_32F);
        planes += letter.area();
    }
    return scale;
}

std::vector<Cell> grid_of(cv::Size letter) {
    std::vector<Cell> grid;
    for (int stride : kStrides) {
        for (int y = 0; y < letter.height / stride; ++y) {
            for (int x = 0; x < letter.width / stride; ++x) {
                grid.push_back({static_cast<float>(x), static_cast<float>(y), static_cast<float>(stride)});
            }
        }
    }
    return grid;
}

Detections decoded(const float* rows, const std::vector<Cell>& grid, double min_score) {
    const auto least = static_cast<float>(min_score);
    Detections found;
    for (const Cell& cell : grid) {
        const float* row = rows;
        rows += kColumns;
        int kind = kVehicles[0];
        float best = row[4] * row[5 + kind];
        for (int other : kVehicles) {
            const float score = row[4] * row[5 + other];
            if (score > best) {
                best = score;
                kind = other;
            }
        }
        if (!(best >= least)) continue;
        const float x = (row[0] + cell.x) * cell.stride, y = (row[1] + cell.y) * cell.stride;
        // no vehicle is e^20 cells wide: keeps exp finite
        const float wide = std::exp(std::min(row[2], 20.0F)) * cell.stride / 2;
        const float tall = std::exp(std::min(row[3], 20.0F)) * cell.stride / 2;
        found.push_back({{x - wide, y - tall, x + wide, y + tall}, best, kind});
    }
    return found;
}

Detections placed(const Detections& found, const View& view, double scale) {
    const auto shrunk = static_cast<float>(scale);
    const auto left = static_cast<float>(view.left), top = static_cast<float>(view.top);
    const auto right = static_cast<float>(view.right), bottom = static_cast<float>(view.bottom);
    const double margin_x = kEdge * (view.right - view.left), margin_y = kEdge * (view.bottom - view.top);
    Detections whole;
    for (Detection one : found) {
        Box& box = one.box;
        box = {box.x1 / shrunk + left, box.y1 / shrunk + top, box.x2 / shrunk + left, box.y2 / shrunk + top};
        const bool cut = (view.inner[0] && box.x1 < static_cast<float>(view.left + margin_x)) ||
                         (view.inner[1] && box.y1 < static_cast<float>(view.top + margin_y)) ||
                         (view.inner[2] && -box.x2 < static_cast<float>(-view.right + margin_x)) ||
                         (view.inner[3] && -box.y2 < static_cast<float>(-view.bottom + margin_y));
        box = {std::clamp(box.x1, left, right), std::clamp(box.y1, top, bottom),
               std::clamp(box.x2, left, right), std::clamp(box.y2, top, bottom)};
        if (!cut && box.x2 > box.x1 && box.y2 > box.y1) whole.push_back(one);
    }
    return whole;
}

}  // namespace vreid::watch

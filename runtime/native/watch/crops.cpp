// How good a crop is, and whether it is worth the engine's time.
#include "crops.hpp"

#include <algorithm>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace vreid::watch {
namespace {

constexpr float kEdge = 2.0F;  // pixels from the frame's border at which a vehicle counts as cut off

}  // namespace

double ceiling_of(const cv::Mat& crop, const Box& box, cv::Size frame) {
    const double area = static_cast<double>(crop.rows) * crop.cols;
    const double size = std::min(1.0, std::sqrt(area) / 96);
    const bool whole = box.x1 > kEdge && box.y1 > kEdge && box.x2 < static_cast<float>(frame.width) - kEdge &&
                       box.y2 < static_cast<float>(frame.height) - kEdge;
    return size * (whole ? 1.0 : 0.3);
}

double quality_of(const cv::Mat& crop, const Box& box, cv::Size frame) {
    cv::Mat gray, small, edges, mean, spread;
    cv::cvtColor(crop, gray, cv::COLOR_BGR2GRAY);
    cv::resize(gray, small, cv::Size(64, 64), 0, 0, cv::INTER_AREA);
    cv::Laplacian(small, edges, CV_32F);
    cv::meanStdDev(edges, mean, spread);
    const double detail = spread.at<double>(0) * spread.at<double>(0);
    return ceiling_of(crop, box, frame) * (0.5 + 0.5 * detail / (detail + 200));
}

bool deserves(const CropRules& rules, const Box& box, std::int64_t embedded, double since, double quality,
              double best) {
    if (std::min(box.x2 - box.x1, box.y2 - box.y1) < static_cast<float>(rules.least)) return false;
    const bool due = embedded == 0 || (since >= rules.period && embedded < rules.most);
    return due || quality > rules.better * best;
}

}  // namespace vreid::watch

// Motion: whatever moves before a fixed camera is a vehicle. No network, no download. Mirrors
// runtime/detectors/motion.py.
//
// Background subtraction by a mixture of Gaussians per pixel: Zivkovic, Improved Adaptive Gaussian Mixture
// Model for Background Subtraction, ICPR 2004 (OpenCV MOG2). Vehicles that touch come out as one box; one
// that stands still fades.
#include <algorithm>
#include <cmath>
#include <map>
#include <opencv2/imgproc.hpp>
#include <opencv2/video/background_segm.hpp>

#include "options.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

constexpr int kHistory = 200;        // frames
constexpr double kThreshold = 25.0;  // squared Mahalanobis distance
constexpr int kLit = 200;            // MOG2 marks the foreground 255 and shadows 127
constexpr double kTall = 540;        // the picture height for which the kernels below are meant
constexpr double kOpened = 3, kClosed = 13;
constexpr double kSteady = 0.06;       // a change of light below this is left to the background
constexpr float kNested = 0.8F;        // a share of a box's area
constexpr double kLeastTravel = 0.35;  // exposure and moving shadows light up places where nothing moves
constexpr double kFlooded = 0.6;  // a share of the picture that changes at once is a new light, not vehicles

/// What is known of one camera; `frames` counts those since its background was last begun.
struct View {
    cv::Ptr<cv::BackgroundSubtractor> background;
    cv::Size size;
    double light = 0;  // the usual median of the picture
    std::int64_t frames = 0;
};

/// The median of every 8th pixel of every 8th row, all channels together; never 0.
double light_of(const cv::Mat& image) {
    std::vector<std::uint8_t> values;
    for (int y = 0; y < image.rows; y += 8) {
        for (int x = 0; x < image.cols; x += 8) {
            const auto& pixel = image.at<cv::Vec3b>(y, x);
            values.insert(values.end(), {pixel[0], pixel[1], pixel[2]});
        }
    }
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    double median = *middle;
    if (values.size() % 2 == 0) median = (median + *std::max_element(values.begin(), middle)) / 2;
    return std::max(1.0, median);
}

cv::Mat disc(double size) {
    const int odd = std::max(3, 2 * static_cast<int>(std::nearbyint((size - 1) / 2)) + 1);
    return cv::getStructuringElement(cv::MORPH_ELLIPSE, {odd, odd});
}

/// Whether `one` lies for the most part in `other`, which is larger, as a windscreen's parts do in a vehicle.
bool nested(const Box& one, const Box& other) {
    const float area = (one.x2 - one.x1) * (one.y2 - one.y1);
    const float wide = std::max(0.0F, std::min(one.x2, other.x2) - std::max(one.x1, other.x1));
    const float tall = std::max(0.0F, std::min(one.y2, other.y2) - std::max(one.y1, other.y1));
    return wide * tall > kNested * area && area < (other.x2 - other.x1) * (other.y2 - other.y1);
}

/// One background per camera. `min_area`: share of the picture; `warm_up`: frames that only teach the
/// background.
class Motion final : public Detector {
 public:
    Motion(double min_score, double min_area, std::int64_t warm_up)
        : min_score_(static_cast<float>(min_score)), min_area_(min_area), warm_up_(warm_up) {}

    /// Frames of one camera come in order. kinds are -1; scores 0.5 plus half the share of the box that
    /// moves.
    std::vector<Detections> detect(const std::vector<Frame>& frames) override {
        std::vector<Detections> found;
        for (const Frame& frame : frames) found.push_back(moving(frame));
        return found;
    }

    [[nodiscard]] double first_score() const override { return 0.5; }
    [[nodiscard]] double least_travel() const override { return kLeastTravel; }

 private:
    Detections moving(const Frame& frame) {
        View& view = views_[frame.camera];
        if (view.background.empty() || view.size != frame.image.size()) {
            view = {cv::createBackgroundSubtractorMOG2(kHistory, kThreshold, true), frame.image.size(),
                    light_of(frame.image), 0};
        }
        // A white lorry makes the camera darken all the rest: undo that before it looks like motion.
        const double light = light_of(frame.image);
        const double gain = std::clamp(view.light / light, 0.5, 2.0);
        view.light += (light - view.light) / kHistory;
        cv::Mat even = frame.image, mask;
        if (!(std::abs(gain - 1) < kSteady)) cv::convertScaleAbs(frame.image, even = cv::Mat(), gain);
        // MOG2's own rate is high in its first frames and would swallow a slow vehicle.
        view.background->apply(even, mask, view.frames < warm_up_ ? -1.0 : 1.0 / kHistory);
        if (++view.frames <= warm_up_) return {};
        const cv::Mat lit = mask >= kLit;  // 255 or 0
        if (cv::countNonZero(lit) > kFlooded * static_cast<double>(lit.total())) return {};
        return blobs(lit);
    }

    /// CV_8U, 0 or 255 -> the boxes of its blobs.
    Detections blobs(const cv::Mat& lit) const {
        const double scale = lit.rows / kTall;
        cv::Mat opened, closed, labels, stats, centres;
        cv::morphologyEx(lit, opened, cv::MORPH_OPEN, disc(kOpened * scale));
        cv::morphologyEx(opened, closed, cv::MORPH_CLOSE, disc(kClosed * scale));
        cv::connectedComponentsWithStats(closed, labels, stats, centres, 8);
        Detections all, kept;
        for (int blob = 1; blob < stats.rows; ++blob) {  // row 0 is the background
            const int* row = stats.ptr<int>(blob);
            const int area = row[cv::CC_STAT_AREA];
            if (area < min_area_ * static_cast<double>(lit.total())) continue;
            const int left = row[cv::CC_STAT_LEFT], top = row[cv::CC_STAT_TOP];
            const int wide = row[cv::CC_STAT_WIDTH], tall = row[cv::CC_STAT_HEIGHT];
            const double filled = area / std::max(1.0, static_cast<double>(wide) * tall);
            const Box box{static_cast<float>(left), static_cast<float>(top), static_cast<float>(left + wide),
                          static_cast<float>(top + tall)};
            all.push_back({box, static_cast<float>(0.5 + 0.5 * filled), -1});
        }
        for (const Detection& one : all) {
            const bool inside = std::any_of(
                all.begin(), all.end(), [&](const Detection& other) { return nested(one.box, other.box); });
            if (one.score >= min_score_ && !inside) kept.push_back(one);
        }
        return kept;
    }

    float min_score_;
    double min_area_;
    std::int64_t warm_up_;
    std::map<std::string, View> views_;
};

}  // namespace

std::unique_ptr<Detector> open_motion(const Asked& asked) {
    if (!asked.target.empty()) {
        throw Refused("the detector 'motion' takes no file, not '" + asked.target +
                      "'; write motion or motion:?warm_up=20");
    }
    const auto values =
        numbers_of("motion", asked, {{"min_area", {0.0005, 0, 1}}, {"warm_up", {5, 0, 10'000}}});
    return std::make_unique<Motion>(asked.min_score.value_or(0.0), values.at("min_area"),
                                    static_cast<std::int64_t>(values.at("warm_up")));
}

}  // namespace vreid::watch

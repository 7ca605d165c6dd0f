// The detector `yolox`: a YOLOX's ONNX file on one of the engines, with tiles for small vehicles in big
// pictures.
#include <algorithm>
#include <filesystem>

#include "boxes.hpp"
#include "options.hpp"
#include "vreid/errors.hpp"
#include "vreid/network.hpp"
#include "yolox.hpp"

namespace vreid::watch {
namespace {

constexpr double kSame = 0.45;  // IoU from which two boxes are one vehicle
constexpr double kMinScore = 0.3;
constexpr double kFirst = 0.5,
                 kLeastFirst = 0.3;  // who asks for weaker boxes wants tracks of them, but not of noise

std::string shown(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (std::int64_t n : shape) text += (text.empty() ? "" : " x ") + (n == ANY ? "N" : std::to_string(n));
    return text;
}

/// A network and its grid; no state of a camera.
class Yolox final : public Detector {
 public:
    Yolox(std::unique_ptr<Network> network, std::string path, std::optional<double> min_score, int tiles)
        : network_(std::move(network)),
          path_(std::move(path)),
          min_score_(min_score.value_or(kMinScore)),
          tiles_(tiles) {
        first_score_ = min_score ? std::min(kFirst, std::max(kLeastFirst, *min_score)) : kFirst;
        const std::vector<Port> inputs = network_->inputs();
        if (inputs.size() != 1) {
            throw Refused(path_ + " has " + std::to_string(inputs.size()) +
                          " inputs and a YOLOX has 1; export it again");
        }
        const Port& in = inputs.front();
        const auto sized = [](std::int64_t n) { return n > 0 && n % 32 == 0 && n <= 1 << 14; };
        if (in.dtype != "float32" || in.shape.size() != 4 || in.shape[1] != 3 || !sized(in.shape[2]) ||
            !sized(in.shape[3])) {
            throw Refused(path_ + " takes " + in.dtype + " " + shown(in.shape) +
                          " and a YOLOX takes float 1 x 3 x H x W; export it again so");
        }
        single_ = in.shape[0] == 1;
        letter_ = {static_cast<int>(in.shape[3]), static_cast<int>(in.shape[2])};
        grid_ = grid_of(letter_);
        const std::vector<std::int64_t> out = network_->outputs().front().shape;
        const auto other = [](std::int64_t told, std::size_t want) {
            return told != ANY && told != std::int64_t(want);
        };
        if (!out.empty() && (out.size() != 3 || other(out[1], grid_.size()) || other(out[2], kColumns))) {
            throw Refused(path_ + " gives " + shown(out) + " and a YOLOX of this input gives N x " +
                          std::to_string(grid_.size()) + " x " + std::to_string(kColumns) +
                          "; export it for COCO, not decoded");
        }
    }

    /// All views of all frames go through the network together where its batch is dynamic.
    std::vector<Detections> detect(const std::vector<Frame>& frames) override {
        struct Part {
            std::size_t frame;
            View view;
            double scale;
        };
        std::vector<Part> parts;
        for (std::size_t i = 0; i < frames.size(); ++i) {
            for (const View& view : views_of(frames[i].image.size(), tiles_)) parts.push_back({i, view, 0});
        }
        std::vector<Detections> found(frames.size());
        const std::size_t most = single_ ? 1 : std::max<std::size_t>(parts.size(), 1);
        const std::size_t pixels = 3 * static_cast<std::size_t>(letter_.area());
        planes_.resize(most * pixels);
        for (std::size_t first = 0; first < parts.size(); first += most) {
            const std::size_t count = std::min(most, parts.size() - first);
            for (std::size_t i = 0; i < count; ++i) {
                Part& part = parts[first + i];
                const cv::Rect where(cv::Point(part.view.left, part.view.top),
                                     cv::Point(part.view.right, part.view.bottom));
                part.scale =
                    letterboxed(frames[part.frame].image(where), letter_, planes_.data() + i * pixels);
            }
            const float* rows = run(static_cast<std::int64_t>(count));
            for (std::size_t i = 0; i < count; ++i, rows += grid_.size() * kColumns) {
                const Part& part = parts[first + i];
                const Detections inside = placed(decoded(rows, grid_, min_score_), part.view, part.scale);
                found[part.frame].insert(found[part.frame].end(), inside.begin(), inside.end());
            }
        }
        for (Detections& all : found) all = strongest(std::move(all), kSame);
        return found;
    }

    [[nodiscard]] double first_score() const override { return first_score_; }

 private:
    const float* run(std::int64_t count) {
        const std::vector<std::int64_t> wanted{count, static_cast<std::int64_t>(grid_.size()), kColumns};
        std::vector<std::int64_t> found;
        const float* rows = network_->run(planes_.data(), {count, 3, letter_.height, letter_.width}, found);
        if (found != wanted) {
            throw Refused(path_ + " gave " + shown(found) + ", not " + shown(wanted) + "; export it again");
        }
        return rows;
    }

    std::unique_ptr<Network> network_;
    std::string path_;
    double min_score_, first_score_ = kFirst;
    int tiles_;
    bool single_ = true;
    cv::Size letter_;
    std::vector<Cell> grid_;
    std::vector<float> planes_;  // of one batch, kept for the next
};

}  // namespace

std::unique_ptr<Detector> open_yolox(const Asked& asked) {
    if (asked.target.empty() || !std::filesystem::is_regular_file(asked.target)) {
        throw Refused("there is no YOLOX file '" + asked.target +
                      "'; write yolox:FILE with the path of an ONNX file");
    }
    const int tiles = static_cast<int>(numbers_of("yolox", asked, {{"tiles", {1, 1, 8}}}).at("tiles"));
    return std::make_unique<Yolox>(open_network(asked.target, asked.threads), asked.target, asked.min_score,
                                   tiles);
}

}  // namespace vreid::watch

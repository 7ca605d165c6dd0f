// The rules of runtime/camera_bias.py, on the text of runtime/site_evidence.py.
#include "camera_bias.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string_view>

#include "vreid/errors.hpp"

namespace vreid::gallery {
namespace {

using Json = nlohmann::json;

constexpr double kShrinkage = 10, kMostTracks = 1000;
constexpr int kFewestConfirmed = 10;  // pairs that decide anything

struct Mean {
    double tracks = 0;
    std::vector<float> feature;
};

/// A float32 array, little-endian, in base64.
std::vector<float> floats_of(const std::string& text) {
    constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::vector<unsigned char> bytes;
    std::uint32_t held = 0;
    int bits = 0;
    for (const char letter : text.substr(0, text.find('='))) {
        const std::size_t digit = digits.find(letter);
        if (digit == std::string_view::npos) throw std::invalid_argument("a mean that is not base64");
        held = (held << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFF;
        bits += 6;
        if (bits >= 8) bytes.push_back(static_cast<unsigned char>(held >> (bits -= 8)));
    }
    std::vector<float> numbers(bytes.size() / sizeof(float));
    std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(float));
    return numbers;
}

std::map<std::string, Mean> means_of(const Json& rows, int dim) {
    std::map<std::string, Mean> means;
    for (const Json& row : rows) {
        Mean mean{row.at("tracks"), floats_of(row.at("mean"))};
        const bool is_finite = std::all_of(mean.feature.begin(), mean.feature.end(),
                                           [](float number) { return std::isfinite(number); });
        if (!is_finite || !(0 < mean.tracks && mean.tracks <= kMostTracks) ||
            mean.feature.size() != static_cast<std::size_t>(dim)) {
            throw std::invalid_argument("a camera's mean that does not fit");
        }
        means.insert_or_assign(row.at("camera"), std::move(mean));
    }
    return means;
}

bool is_used(const Json& known) {
    const auto gain = known.find("bias_gain");
    if (gain == known.end()) return true;
    const int confirmed = gain->at("confirmed"), raw = gain->at("confirmed_raw");
    return confirmed < kFewestConfirmed || gain->at("confirmed_without").get<int>() >= raw;
}

}  // namespace

CameraBias::CameraBias(const std::string& text, int dim) {
    std::map<std::string, Mean> means;
    try {
        const Json known = Json::parse(text);
        if (known.at("version") != 1) throw std::invalid_argument("another version");
        means = means_of(known.at("cameras"), dim);
        if (!is_used(known)) return;
    } catch (const std::exception& error) {
        throw Refused("what the gallery knows of this site's threshold is damaged (" +
                      std::string(error.what()) +
                      "); forget it with 'vreid gallery threshold --reset'");
    }
    if (means.size() < 2) return;  // one camera has nothing to be compared with
    double total = 0;
    for (const auto& [camera, mean] : means) total += mean.tracks / (mean.tracks + kShrinkage);
    std::vector<double> centre(static_cast<std::size_t>(dim), 0.0);
    for (const auto& [camera, mean] : means) {
        const double share = mean.tracks / (mean.tracks + kShrinkage) / total;
        for (std::size_t at = 0; at < centre.size(); ++at)
            centre[at] += share * static_cast<double>(mean.feature[at]);
    }
    for (const auto& [camera, mean] : means) {
        const double known = mean.tracks / (mean.tracks + kShrinkage);
        std::vector<float>& offset = offsets_[camera];
        for (std::size_t at = 0; at < centre.size(); ++at)
            offset.push_back(
                static_cast<float>(known * (static_cast<double>(mean.feature[at]) - centre[at])));
    }
}

std::vector<float> CameraBias::removed(std::vector<float> feature, const std::string& camera) const {
    const auto offset = offsets_.find(camera);
    if (offset == offsets_.end()) return feature;
    double sum = 0;
    for (std::size_t at = 0; at < feature.size(); ++at) {
        feature[at] -= offset->second[at];
        sum += static_cast<double>(feature[at]) * static_cast<double>(feature[at]);
    }
    const auto length = static_cast<float>(std::max(std::sqrt(sum), 1e-12));
    for (float& part : feature) part /= length;
    return feature;
}

}  // namespace vreid::gallery

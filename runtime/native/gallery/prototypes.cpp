// The rule of prototypes (runtime/gallery/prototypes.py): sums in float32 as NumPy makes them, lengths in
// double.
#include "prototypes.hpp"

#include <faiss/utils/distances.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace vreid {
namespace {

/// The length, infinite where a float32 cannot hold its square, as NumPy has it.
float length_of(const float* row, std::size_t dim) {
    double sum = 0;
    for (std::size_t at = 0; at < dim; ++at)
        sum += static_cast<double>(row[at]) * static_cast<double>(row[at]);
    if (sum > static_cast<double>(std::numeric_limits<float>::max()))
        return std::numeric_limits<float>::infinity();
    return static_cast<float>(std::sqrt(sum));
}

}  // namespace

std::vector<float> unit(const std::vector<float>& features, int dim) {
    const auto wide = static_cast<std::size_t>(dim);
    if (features.size() % wide != 0) {
        throw Refused("features of shape (" + std::to_string(features.size()) +
                      ",) do not fit a gallery of dimension " + std::to_string(dim) +
                      "; use the gallery's own model");
    }
    std::vector<float> rows(features.size());
    for (std::size_t begin = 0; begin < rows.size(); begin += wide) {
        const float length = length_of(features.data() + begin, wide);
        if (!std::isfinite(length) || length < 1e-12F) {
            throw Refused(
                "a feature is zero or not finite; verify the model with 'vreid doctor' and export it again");
        }
        for (std::size_t at = begin; at < begin + wide; ++at) rows[at] = features[at] / length;
    }
    return rows;
}

namespace gallery {

void refuse_length(const std::vector<float>& feature, int dim) {
    if (feature.size() != static_cast<std::size_t>(dim)) {
        throw Refused("features of shape (1, " + std::to_string(feature.size()) +
                      ") do not fit a gallery of dimension " + std::to_string(dim) +
                      "; use the gallery's own model");
    }
}

void copy_feature(const Bytes& stored, int dim, float* feature) {
    if (stored.size != sizeof(float) * static_cast<std::size_t>(dim)) {
        throw Refused(
            "the gallery is damaged (a feature of the wrong length); let "
            "'vreid gallery check --repair' mend it or restore a copy");
    }
    std::memcpy(feature, stored.data, stored.size);  // the file is little-endian, as is all that this runs on
}

std::optional<Prototype> merged(const Prototype& kept, const std::vector<float>& feature, double weight) {
    const auto old_share = static_cast<float>(kept.weight);
    const auto share = static_cast<float>(weight);
    std::vector<float> total(feature.size());
    for (std::size_t at = 0; at < total.size(); ++at) {
        const float before = old_share * kept.feature[at];
        const float added = share * feature[at];
        total[at] = before + added;
    }
    const float length = length_of(total.data(), total.size());
    if (!std::isfinite(length) || length < 1e-12F) return std::nullopt;
    for (float& number : total) number /= length;
    return Prototype{kept.id, kept.view, std::move(total), kept.weight + weight, kept.count + 1};
}

const Prototype* home_of(const std::vector<Prototype>& kept, const std::string& view,
                         const std::vector<float>& feature, double above) {
    const Prototype* best = nullptr;
    float nearest = 0;
    for (const Prototype& one : kept) {
        if (one.view != view) continue;
        const float cosine = faiss::fvec_inner_product(one.feature.data(), feature.data(), feature.size());
        if (best == nullptr || cosine > nearest) {
            best = &one;
            nearest = cosine;
        }
    }
    return best != nullptr && nearest >= static_cast<float>(above) ? best : nullptr;
}

std::vector<std::int64_t> surplus(const std::vector<Prototype>& kept, int most) {
    std::vector<const Prototype*> order;
    order.reserve(kept.size());
    for (const Prototype& one : kept) order.push_back(&one);
    std::sort(order.begin(), order.end(), [](const Prototype* one, const Prototype* other) {
        return one->weight != other->weight ? one->weight > other->weight : one->id < other->id;
    });
    std::vector<std::int64_t> gone;
    for (std::size_t at = static_cast<std::size_t>(most); at < order.size(); ++at)
        gone.push_back(order[at]->id);
    return gone;
}

}  // namespace gallery
}  // namespace vreid

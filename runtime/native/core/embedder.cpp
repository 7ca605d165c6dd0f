// From crops to features, in batches of the manifest's size.
#include "vreid/embedder.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/table.hpp"
#include "vreid/errors.hpp"
#include "vreid/preprocess.hpp"

namespace vreid {

Embedder::Embedder(Manifest manifest, std::unique_ptr<Engine> engine)
    : manifest_(std::move(manifest)), engine_(std::move(engine)), owner_(::getpid()) {}
Embedder::Embedder(Embedder&&) noexcept = default;

Embedder& Embedder::operator=(Embedder&& other) noexcept {
    std::swap(manifest_, other.manifest_);
    std::swap(engine_, other.engine_);  // the old one ends with `other`, by the rule below
    std::swap(owner_, other.owner_);
    return *this;
}

Embedder::~Embedder() {
    // in a forked child the engine would wait for its threads for ever
    if (::getpid() != owner_) static_cast<void>(engine_.release());
}

void Embedder::refuse_child() const {
    if (::getpid() != owner_) {
        throw Refused("the model " + manifest_.name + " was opened by process " + std::to_string(owner_) +
                      ", which forked this one; open it again here");
    }
}

std::vector<float> Embedder::embed(const std::vector<cv::Mat>& crops) {
    const auto& spec = manifest_.input;
    const auto dim = static_cast<std::size_t>(manifest_.output.dim);
    const auto most = static_cast<std::size_t>(spec.batch[2]);
    const auto size = static_cast<std::size_t>(spec.height) * static_cast<std::size_t>(spec.width) * 3;
    std::vector<float> features(crops.size() * dim);
    for (std::size_t start = 0; start < crops.size(); start += most) {
        const std::size_t count = std::min(most, crops.size() - start);
        const auto first = crops.begin() + static_cast<std::ptrdiff_t>(start);
        pixels_.resize(std::max(pixels_.size(), count * size));
        batch_of({first, first + static_cast<std::ptrdiff_t>(count)}, spec.height, spec.width,
                 pixels_.data());
        infer(pixels_.data(), static_cast<int>(count), features.data() + start * dim);
    }
    return features;
}

void Embedder::infer(const std::uint8_t* pixels, int n, float* features) {
    refuse_child();
    const auto& spec = manifest_.input;
    const auto dim = static_cast<std::size_t>(manifest_.output.dim);
    const auto size = static_cast<std::size_t>(spec.height) * static_cast<std::size_t>(spec.width) * 3;
    const int least = spec.batch[0];
    for (int start = 0; start < n; start += spec.batch[2]) {
        const int count = std::min(spec.batch[2], n - start);
        const std::uint8_t* batch = pixels + static_cast<std::size_t>(start) * size;
        float* part = features + static_cast<std::size_t>(start) * dim;
        if (count < least) {  // an engine built for whole batches: fill up, and drop the filling below
            filled_.assign(static_cast<std::size_t>(least) * size, 0);
            std::copy_n(batch, static_cast<std::size_t>(count) * size, filled_.begin());
            spare_.resize(static_cast<std::size_t>(least) * dim);
            engine_->infer(filled_.data(), least, spare_.data());
            std::copy_n(spare_.begin(), static_cast<std::size_t>(count) * dim, part);
        } else {
            engine_->infer(batch, count, part);
        }
        const float* end = part + static_cast<std::size_t>(count) * dim;
        if (!std::all_of(static_cast<const float*>(part), end,
                         [](float value) { return std::isfinite(value); })) {
            throw Refused("the engine of " + manifest_.name +
                          " gave NaN or infinity; export or build the model again");
        }
    }
}

Embedder open_embedder(const std::filesystem::path& path, int threads, const std::string& engine) {
    constexpr int kMostThreads = 1024;  // as in models/ranges.py
    if (threads < 1 || threads > kMostThreads) {
        throw Refused("an engine runs on 1 to " + std::to_string(kMostThreads) + " threads, not " +
                      std::to_string(threads));
    }
    auto [manifest, file] = read_model(path);
    auto opened = open_engine(manifest, file, threads, engine);
    return {std::move(manifest), std::move(opened)};
}

}  // namespace vreid

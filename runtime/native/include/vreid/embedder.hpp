// From crops to features: the one resize, batches of the manifest's size, the engine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

#include "vreid/engine.hpp"
#include "vreid/export.hpp"
#include "vreid/manifest.hpp"

namespace vreid {

/// A manifest and its engine. Not for several threads at once: give each its own, or take turns. It does not
/// survive a fork, since the engine's threads do not: the child opens its own, and may let go of this one.
class VREID_API Embedder {
 public:
    Embedder(Manifest manifest, std::unique_ptr<Engine> engine);
    Embedder(Embedder&&) noexcept;
    Embedder& operator=(Embedder&&) noexcept;
    ~Embedder();

    [[nodiscard]] const Manifest& manifest() const { return manifest_; }

    /// N crops of any size and camera -> (N, dim) of unit length. Refuses an engine that gives no numbers.
    std::vector<float> embed(const std::vector<cv::Mat>& crops);

    /// (n, height, width, 3) of the manifest's size, as `batch_of` makes them -> features (n, dim), as
    /// `embed`.
    void infer(const std::uint8_t* pixels, int n, float* features);

    /// Refused in a child that was forked after this was opened.
    void refuse_child() const;

 private:
    Manifest manifest_;
    std::unique_ptr<Engine> engine_;
    std::vector<std::uint8_t> pixels_;  // of one batch, kept for the next
    std::vector<std::uint8_t> filled_;
    std::vector<float> spare_;
    int owner_;  // the process that opened it
};

/// The embedder of the manifest at `path`, its engine checked byte for byte. `engine` names another than the
/// manifest's backend, as engine_for has it.
VREID_API Embedder open_embedder(const std::filesystem::path& path, int threads = 1,
                                 const std::string& engine = "");

}  // namespace vreid

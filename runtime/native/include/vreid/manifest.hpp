// The manifest: the description that travels with a lowered model and that every program enforces
// (docs/manifest.md).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vreid/export.hpp"

namespace vreid {

/// One lowered model; the fields are those of models/manifest.py. `engine` is a file name next to the
/// manifest, `fingerprint` names the embedding space.
struct Manifest {
    /// What goes in: (N, height, width, 3) uint8 pixels in BGR, exactly as the camera gives them, stretched
    /// bilinearly.
    struct Input {
        std::string name = "images";
        int height = 0;
        int width = 0;
        std::array<int, 3> batch{};  // least, best, most
    };

    /// What comes out: (N, dim) float32 of unit length; the metric is the cosine.
    struct Output {
        std::string name = "embedding";
        int dim = 0;
    };

    /// Of one image: parameters, multiply-accumulates, and FLOPs = 2 x MACs.
    struct Cost {
        std::int64_t params = 0;
        std::int64_t macs = 0;
        std::int64_t flops = 0;
    };

    /// Retrieval on a named data set, in percent, without re-ranking.
    struct Accuracy {
        std::string dataset;
        double map = 0;
        double rank1 = 0;
        std::int64_t queries = 0;
    };

    /// The open-set rule: a best score under `threshold` is an unknown vehicle.
    struct Match {
        double threshold = 0;
        double false_match_rate = 0;
        std::int64_t gallery = 0;
    };

    /// What an INT8 model's ranges were measured on.
    struct Calibration {
        std::string dataset;
        std::int64_t images = 0;
        std::int64_t seed = 0;
        std::string sha256;
        std::string method;
        std::string target;
        std::vector<std::string> kept_float;
    };

    std::string name;
    std::string engine;
    std::string sha256;
    std::string backend;
    std::string precision;  // fp32, fp16 or int8
    Input input;
    Output output;
    Cost cost;
    std::optional<Accuracy> accuracy;
    std::optional<Match> match;
    std::optional<Calibration> calibration;
    std::string fingerprint;
    std::optional<std::map<std::string, std::string>> built_for;
    std::optional<std::string> made_from;
};

/// The manifest at `path`, its engine checked byte for byte. Refused for a missing, malformed or unknown
/// field, another schema, a missing engine, or a changed one.
VREID_API Manifest read_manifest(const std::filesystem::path& path);

/// The manifest in `text`, which came from `path`; no engine is looked for.
VREID_API Manifest manifest_from(std::string_view text, const std::filesystem::path& path);

}  // namespace vreid

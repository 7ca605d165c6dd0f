// The flags that several verbs have.
#include "verbs.hpp"

#include <algorithm>
#include <cstddef>

#include "vreid/engine.hpp"
#include "vreid/errors.hpp"
#include "vreid/picture.hpp"

namespace vreid::program {
namespace {

constexpr std::size_t DIGITS = 18;  // of a number that fits into 64 bits, whatever they are
constexpr std::int64_t MOST = 999'999'999'999'999'999;
constexpr std::size_t SHOWN = 60;            // characters of a value in a message
constexpr std::int64_t MOST_THREADS = 1024;  // as in models/ranges.py

/// Digits, with a sign at most: what is longer than any number that fits is beyond every range.
bool is_whole_number(const std::string& text) {
    const std::size_t first = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    return text.size() > first && std::all_of(text.begin() + static_cast<std::ptrdiff_t>(first), text.end(),
                                              [](char one) { return one >= '0' && one <= '9'; });
}

}  // namespace

CLI::Validator whole_number(const std::string& flag, std::int64_t least, std::optional<std::int64_t> most) {
    const auto check = [flag, least, most](const std::string& text) -> std::string {
        const std::string shown = text.substr(0, SHOWN) + (text.size() > SHOWN ? "..." : "");
        if (!is_whole_number(text)) throw Refused(flag + " must be a whole number, not '" + shown + "'");
        const std::size_t start = std::min(text.find_first_not_of("+-0"), text.size());
        const bool fits = text.size() - start <= DIGITS;
        if (fits && std::stoll(text) >= least && std::stoll(text) <= most.value_or(MOST)) return "";
        const bool is_above = fits ? std::stoll(text) > MOST : text[0] != '-';
        const std::string limit =
            most || is_above ? " and at most " + std::to_string(most.value_or(MOST)) : std::string();
        throw Refused(flag + " must be at least " + std::to_string(least) + limit + ", not " + shown);
    };
    return {check, "", flag};
}

void add_model(CLI::App& verb, Model& model) {
    verb.add_option("model,--model", model.manifest, "Manifest .json of a lowered model")->required();
    add_engine(verb, model);
}

std::string engines_here() {
    std::string names;
    for (const auto& name : engine_names()) names += (names.empty() ? "" : ", ") + name;
    return names;
}

void add_engine(CLI::App& verb, Model& model) {
    verb.add_option("--threads", model.threads, "CPU threads of the engine")
        ->capture_default_str()
        ->check(whole_number("--threads", 1, MOST_THREADS));
    verb.add_option("--engine", model.engine,
                    "Run the manifest's ONNX file on another engine than its backend; this program has: " +
                        engines_here());
}

std::filesystem::path manifest_path(const std::filesystem::path& path) {
    const auto kind = path.extension();
    if (kind == ".onnx" || kind == ".engine" || kind == ".plan") {
        throw Refused(path.string() + " is a bare engine; give its manifest " +
                      std::filesystem::path(path).replace_extension(".json").string() +
                      ", which says how to feed it");
    }
    return path;
}

std::vector<float> features_of(Embedder& embedder, const std::vector<std::filesystem::path>& pictures) {
    const auto most = static_cast<std::size_t>(embedder.manifest().input.batch[2]);
    std::vector<float> features;
    for (std::size_t start = 0; start < pictures.size(); start += most) {  // no more in memory than a batch
        std::vector<cv::Mat> crops;
        for (std::size_t at = start; at < std::min(start + most, pictures.size()); ++at) {
            crops.push_back(read_picture(pictures[at]));
        }
        const std::vector<float> part = embedder.embed(crops);
        features.insert(features.end(), part.begin(), part.end());
    }
    return features;
}

}  // namespace vreid::program

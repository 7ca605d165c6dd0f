// The flags that every verb with a model has.
#include "model.hpp"

#include "vreid/engine.hpp"
#include "vreid/errors.hpp"

namespace vreid::program {

void add_model(CLI::App& verb, Model& model) {
    std::string names;
    for (const auto& name : engine_names()) names += (names.empty() ? "" : ", ") + name;
    verb.add_option("model,--model", model.manifest, "Manifest .json of a lowered model")->required();
    verb.add_option("--threads", model.threads, "CPU threads of the engine")->capture_default_str();
    verb.add_option(
        "--engine", model.engine,
        "Run the manifest's ONNX file on another engine than its backend; this program has: " + names);
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

}  // namespace vreid::program

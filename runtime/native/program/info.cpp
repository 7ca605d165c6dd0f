// vreid-native info: what a model is, and which engines this program has.
#include <memory>
#include <utility>

#include "output.hpp"
#include "verbs.hpp"
#include "vreid/engine.hpp"
#include "vreid/manifest.hpp"

namespace vreid::program {
namespace {

Document document_of(const Manifest& manifest) {
    Document found;
    found["name"] = manifest.name;
    found["engine"] = manifest.engine;
    found["sha256"] = manifest.sha256;
    found["backend"] = manifest.backend;
    found["precision"] = manifest.precision;
    found["input"] = {{"name", manifest.input.name},
                      {"height", manifest.input.height},
                      {"width", manifest.input.width},
                      {"batch", manifest.input.batch}};
    found["output"] = {{"name", manifest.output.name}, {"dim", manifest.output.dim}};
    found["cost"] = {
        {"params", manifest.cost.params}, {"macs", manifest.cost.macs}, {"flops", manifest.cost.flops}};
    found["accuracy"] = nullptr;
    if (const auto& one = manifest.accuracy) {
        found["accuracy"] = {
            {"dataset", one->dataset}, {"map", one->map}, {"rank1", one->rank1}, {"queries", one->queries}};
    }
    found["match"] = nullptr;
    if (const auto& one = manifest.match) {
        found["match"] = {{"threshold", one->threshold},
                          {"false_match_rate", one->false_match_rate},
                          {"gallery", one->gallery}};
    }
    found["calibration"] = nullptr;
    if (const auto& one = manifest.calibration) {
        found["calibration"] = {
            {"dataset", one->dataset},      {"images", one->images}, {"seed", one->seed},
            {"sha256", one->sha256},        {"method", one->method}, {"target", one->target},
            {"kept_float", one->kept_float}};
    }
    found["fingerprint"] = manifest.fingerprint;
    found["built_for"] = nullptr;
    if (manifest.built_for) found["built_for"] = *manifest.built_for;
    found["made_from"] = nullptr;
    if (manifest.made_from) found["made_from"] = *manifest.made_from;
    return found;
}

int info(const std::filesystem::path& path, bool json) {
    const Manifest manifest = read_manifest(manifest_path(path));
    if (json) {
        print_document({{"manifest", document_of(manifest)}, {"engines", engine_names()}});
        return 0;
    }
    const auto& input = manifest.input;
    const std::string sizes = std::to_string(input.batch[0]) + ", " + std::to_string(input.batch[1]) + ", " +
                              std::to_string(input.batch[2]);
    print_table(manifest.name + ", " + manifest.precision + " for " + manifest.backend,
                {{"picture", std::to_string(input.height) + " x " + std::to_string(input.width)},
                 {"embedding", std::to_string(manifest.output.dim)},
                 {"batch least, best, most", sizes},
                 {"params M", fixed(static_cast<double>(manifest.cost.params) / 1e6, 2)},
                 {"MACs G", fixed(static_cast<double>(manifest.cost.macs) / 1e9, 3)},
                 {"FLOPs G", fixed(static_cast<double>(manifest.cost.flops) / 1e9, 3)},
                 {"mAP %", manifest.accuracy ? fixed(manifest.accuracy->map, 2) : "-"},
                 {"threshold", manifest.match ? fixed(manifest.match->threshold, 4) : "-"},
                 {"fingerprint", manifest.fingerprint},
                 {"engines here", engines_here()}});
    return 0;
}

}  // namespace

void add_info(CLI::App& program, int& code) {
    struct Flags {
        std::filesystem::path model;
        bool json = false;
    };
    const auto flags = std::make_shared<Flags>();
    CLI::App* verb = program.add_subcommand("info", "what a model is, and which engines this program has");
    verb->add_option("model,--model", flags->model, "Manifest .json of a lowered model")->required();
    verb->add_flag("--json", flags->json, "Print one JSON document on stdout instead of the table");
    verb->callback([flags, &code] { code = info(flags->model, flags->json); });
}

}  // namespace vreid::program

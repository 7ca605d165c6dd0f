// vreid-native embed: the features of pictures.
#include <memory>
#include <numeric>
#include <vector>

#include "output.hpp"
#include "verbs.hpp"
#include "vreid/embedder.hpp"

namespace vreid::program {
namespace {

struct Flags {
    Model model;
    std::vector<std::filesystem::path> pictures;
    bool json = false;
};

int embed(const Flags& flags) {
    Embedder embedder =
        open_embedder(manifest_path(flags.model.manifest), flags.model.threads, flags.model.engine);
    const std::vector<float> features = features_of(embedder, flags.pictures);
    const auto dim = static_cast<std::ptrdiff_t>(embedder.manifest().output.dim);
    Document documents = Document::array();
    std::vector<std::vector<std::string>> rows{{"picture", "cosine to the first"}};
    auto feature = features.cbegin();
    for (const auto& picture : flags.pictures) {
        const float cosine = std::inner_product(feature, feature + dim, features.cbegin(), 0.0F);
        rows.push_back({picture.string(), fixed(static_cast<double>(cosine), 4)});
        documents.push_back(
            {{"picture", picture.string()}, {"feature", std::vector<float>(feature, feature + dim)}});
        feature += dim;
    }
    if (flags.json) {
        print_document({{"model", embedder.manifest().name},
                        {"fingerprint", embedder.manifest().fingerprint},
                        {"dim", embedder.manifest().output.dim},
                        {"features", documents}});
    } else {
        print_table(embedder.manifest().name + ", " + std::to_string(dim) +
                        " numbers of each picture; --json prints them",
                    rows);
    }
    return 0;
}

}  // namespace

void add_embed(CLI::App& program, int& code) {
    const auto flags = std::make_shared<Flags>();
    CLI::App* verb = program.add_subcommand("embed", "the features of pictures");
    add_model(*verb, flags->model);
    verb->add_option("pictures", flags->pictures, "Crops of vehicles, files of any size")->required();
    verb->add_flag("--json", flags->json, "Print one JSON document with the features on stdout");
    verb->callback([flags, &code] { code = embed(*flags); });
}

}  // namespace vreid::program

// vreid-native search: which vehicles of a gallery look like these pictures.
#include <algorithm>
#include <memory>
#include <vector>

#include "output.hpp"
#include "times.hpp"
#include "verbs.hpp"
#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace vreid::program {
namespace {

struct Flags {
    Model model;
    std::filesystem::path gallery;
    std::vector<std::filesystem::path> pictures;
    Filter only;
    std::string since;
    std::string until;
    std::int64_t k = 5;
    bool json = false;
};

int search(Flags flags) {
    if (flags.pictures.empty()) throw Refused("there is nothing to search for; name at least one picture");
    if (!flags.since.empty()) flags.only.since = moment_of(flags.since);
    if (!flags.until.empty()) flags.only.until = moment_of(flags.until);
    Embedder embedder =
        open_embedder(manifest_path(flags.model.manifest), flags.model.threads, flags.model.engine);
    const auto& match = embedder.manifest().match;
    const Gallery gallery = open_gallery(flags.gallery, embedder.manifest(), false);
    const auto found =
        gallery.search(features_of(embedder, flags.pictures), flags.k, gallery.allowed(flags.only));

    Document queries = Document::array();
    for (std::size_t at = 0; at < found.size(); ++at) {
        Document matches = Document::array();
        std::vector<std::vector<std::string>> rows{{"vehicle", "id", "score", "known"}};
        for (const Hit& hit : found[at]) {
            const bool known = match && static_cast<double>(hit.score) >= match->threshold;
            matches.push_back({{"vehicle", hit.vehicle},
                               {"name", hit.name},
                               {"score", hit.score},
                               {"known", match ? Document(known) : Document()}});
            rows.push_back({hit.name, std::to_string(hit.vehicle), fixed(static_cast<double>(hit.score), 3),
                            !match  ? "-"
                            : known ? "yes"
                                    : "no"});
        }
        if (!flags.json) print_table(flags.pictures[at].string(), rows);
        queries.push_back({{"image", flags.pictures[at].string()}, {"matches", matches}});
    }
    if (flags.json) {
        print_document({{"gallery", flags.gallery.string()},
                        {"threshold", match ? Document(match->threshold) : Document()},
                        {"queries", queries}});
    }
    return 0;
}

}  // namespace

void add_search(CLI::App& program, int& code) {
    const auto flags = std::make_shared<Flags>();
    CLI::App* verb = program.add_subcommand("search", "the vehicles of a gallery that look like pictures");
    verb->add_option("images", flags->pictures, "Pictures of one vehicle each");
    verb->add_option("--model", flags->model.manifest,
                     "Manifest .json; the model that the gallery was made with")
        ->required();
    verb->add_option("--gallery", flags->gallery, "The gallery's file")->required();
    const auto many = [verb](const std::string& name, std::vector<std::string>& values,
                             const std::string& what) {
        verb->add_option(name, values, what)->expected(1)->take_all();
    };
    many("--camera", flags->only.cameras, "Seen by this camera; may be given again");
    many("--kind", flags->only.kinds,
         "Of this kind: car, truck, bus, motorcycle, vehicle; may be given again");
    many("--plate", flags->only.plates,
         "With a plate like this, * and ? standing for anything; may be given again");
    many("--name", flags->only.names, "Called like this, * and ? standing for anything; may be given again");
    verb->add_option("--since", flags->since,
                     "Seen at or after this time: 2026-11-22T08:15, or 2h for two hours ago");
    verb->add_option("--until", flags->until, "Seen before this time");
    verb->add_option("--k", flags->k, "How many vehicles a picture")
        ->capture_default_str()
        ->check(whole_number("--k", 1));
    add_engine(*verb, flags->model);
    verb->add_flag("--json", flags->json, "Print one JSON document on stdout");
    verb->callback([flags, &code] { code = search(*flags); });
}

}  // namespace vreid::program

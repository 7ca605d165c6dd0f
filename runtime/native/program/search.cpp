// vreid-native search: which vehicles of a gallery look like these pictures.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <memory>
#include <regex>
#include <vector>

#include "model.hpp"
#include "output.hpp"
#include "verbs.hpp"
#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/picture.hpp"

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

/// 2h (ago), or an ISO time, local where it has no zone -> seconds since 1970; as runtime/galleries/times.py.
double moment_of(const std::string& text) {
    static const std::regex ago(R"(\s*([\d.]+)([smhdwSMHDW])\s*)");
    static const std::regex amount(R"(\d{1,9}(\.\d{1,9})?)");
    static const std::regex iso(
        R"(\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?)?([zZ]|[+-]\d\d:\d\d)?)?\s*)");
    std::smatch found;
    if (std::regex_match(text, found, ago)) {
        const std::string count = found[1];
        if (!std::regex_match(count, amount) || std::stod(count) == 0) {
            throw Refused("'" + text + "' is no span of time; write it like 30d, 12h or 2w");
        }
        static const std::map<int, double> units{
            {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
        const auto now =
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
        return now - units.at(std::tolower(found.str(2).front())) * std::stod(count);
    }
    const Refused refusal(
        "'" + text + "' is no time; write it like 2026-11-22T08:15, 2026-11-22, or 2h for two hours ago");
    if (!std::regex_match(text, found, iso)) throw refusal;
    const auto number = [&found](std::size_t group) {
        return found[group].matched ? std::stoi(found[group]) : 0;
    };
    std::tm told{};
    told.tm_year = number(1) - 1900;
    told.tm_mon = number(2) - 1;
    told.tm_mday = number(3);
    told.tm_hour = number(4);
    told.tm_min = number(5);
    told.tm_sec = number(6);
    told.tm_isdst = -1;
    const std::string zone = found[8];
    std::tm taken = told;
    const std::time_t whole = zone.empty() ? std::mktime(&taken) : ::timegm(&taken);
    if (taken.tm_mday != told.tm_mday || taken.tm_mon != told.tm_mon || number(4) > 23 || number(5) > 59 ||
        number(6) > 59) {
        throw refusal;  // such as the 30th of February
    }
    int east = 0;
    if (zone.size() > 1) {
        east = (zone[0] == '-' ? -60 : 60) * (60 * std::stoi(zone.substr(1, 2)) + std::stoi(zone.substr(4)));
    }
    return static_cast<double>(whole - east) + (found[7].matched ? std::stod(found[7]) : 0.0);
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

int search(Flags flags) {
    if (flags.pictures.empty()) throw Refused("there is nothing to search for; name at least one picture");
    if (flags.k < 1) throw Refused("--k must be at least 1, not " + std::to_string(flags.k));
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
    verb->add_option("--k", flags->k, "How many vehicles a picture")->capture_default_str();
    verb->add_option("--threads", flags->model.threads, "CPU threads of the engine")->capture_default_str();
    verb->add_option("--engine", flags->model.engine,
                     "Run the manifest's ONNX file on another engine than its backend");
    verb->add_flag("--json", flags->json, "Print one JSON document on stdout");
    verb->callback([flags, &code] { code = search(*flags); });
}

}  // namespace vreid::program

// Which detectors there are, and how their text is read.
#include "vreid/detector.hpp"

#include <array>
#include <string_view>
#include <utility>

#include "numbers.hpp"
#include "options.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

using Opener = std::unique_ptr<Detector> (*)(const watch::Asked&);
constexpr std::array<std::pair<std::string_view, Opener>, 3> kDetectors{
    {{"motion", watch::open_motion}, {"replay", watch::open_replay}, {"yolox", watch::open_yolox}}};

std::map<std::string, std::string> options_of(std::string_view query) {
    std::map<std::string, std::string> options;
    while (!query.empty()) {
        const std::string_view pair = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), pair.size() + 1));
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        const std::string_view value = equals == std::string_view::npos ? "" : pair.substr(equals + 1);
        options[std::string(pair.substr(0, equals))] = value;
    }
    return options;
}

}  // namespace

std::unique_ptr<Detector> open_detector(const std::string& text, int threads,
                                        std::optional<double> min_score) {
    const std::size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    const std::string rest = colon == std::string::npos ? "" : text.substr(colon + 1);
    const std::size_t mark = rest.find('?');
    if (threads < 1) throw Refused("a detector needs at least 1 thread, not " + std::to_string(threads));
    if (min_score && !(0 <= *min_score && *min_score <= 1)) {
        throw Refused("a detector's least score lies between 0 and 1, not at " + watch::shortly(*min_score));
    }
    watch::Asked asked{rest.substr(0, mark), {}, threads, min_score};
    if (mark != std::string::npos) asked.options = options_of(std::string_view(rest).substr(mark + 1));
    std::string known;
    for (const auto& [called, open] : kDetectors) {
        if (called == name) return open(asked);
        known += (known.empty() ? "" : ", ") + std::string(called);
    }
    throw Refused("there is no detector '" + name + "'; choose one of: " + known);
}

namespace watch {

std::map<std::string, double> numbers_of(const std::string& detector, const Asked& asked,
                                         const std::map<std::string, Range>& known) {
    std::string names;
    for (const auto& [name, range] : known) names += (names.empty() ? "" : ", ") + name;
    for (const auto& [name, text] : asked.options) {
        if (known.count(name) > 0) continue;
        throw Refused("the detector '" + detector + "' has no option '" + name + "'; " +
                      (names.empty() ? "it has none" : "it has: " + names));
    }
    std::map<std::string, double> values;
    for (const auto& [name, range] : known) {
        const auto told = asked.options.find(name);
        if (told == asked.options.end()) {
            values[name] = range.usual;
            continue;
        }
        const std::string where = "the option " + name;
        const auto value = number_of(told->second);
        if (!value)
            throw Refused(where + "=" + told->second + " of the detector '" + detector + "' is not a number");
        if (!(range.least <= *value && *value <= range.most)) {
            throw Refused(where + " of the detector '" + detector + "' lies between " + shortly(range.least) +
                          " and " + shortly(range.most) + ", not at " + told->second);
        }
        values[name] = *value;
    }
    return values;
}

}  // namespace watch
}  // namespace vreid

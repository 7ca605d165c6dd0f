// The rule of identities.
#include "identify.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include "numbers.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

constexpr double kNobody = -std::numeric_limits<double>::infinity();

}  // namespace

Identifier::Identifier(Gallery& gallery, IdentityRules rules)
    : gallery_(gallery),
      rules_(std::move(rules)),
      new_below_(rules_.new_below.value_or(rules_.threshold)),
      dim_(static_cast<std::size_t>(gallery.about().dim)) {
    if (!(-1 <= rules_.threshold && rules_.threshold <= 1)) {
        throw Refused("a threshold is a cosine from -1 to 1, not " + shortly(rules_.threshold) +
                      "; take it from the manifest's match");
    }
    if (!(-1 <= new_below_ && new_below_ <= rules_.threshold)) {
        throw Refused("vehicles are new below a score from -1 to the threshold " + shortly(rules_.threshold) +
                      ", not " + shortly(new_below_));
    }
    if (rules_.enrol && !gallery.writable()) {
        throw Refused("the gallery was opened for reading and cannot learn or enrol; open it for writing");
    }
}

void Identifier::recall(double since) {
    // their tracks are of other runs: numbers below 0, which no track of this run has
    for (const Stay& stay : gallery_.lately(since)) {
        presence_.remember(stay.vehicle, {stay.camera, -stay.sighting, stay.first, stay.last});
    }
}

std::vector<Match> Identifier::assign(const std::vector<Sighting>& sightings) {
    std::vector<std::size_t> order(sightings.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return earlier(sightings[a], sightings[b]); });
    std::vector<const Sighting*> tracks;
    for (std::size_t row : order) tracks.push_back(&sightings[row]);
    std::vector<Match> matches;
    if (tracks.empty()) return matches;
    if (gallery_.writable()) {
        gallery_.transaction([&] { matches = decided(tracks); });
    } else {
        matches = decided(tracks);
    }
    std::vector<Match> told(matches.size());
    for (std::size_t row = 0; row < tracks.size(); ++row) {
        if (matches[row].vehicle) presence_.put(*matches[row].vehicle, *tracks[row]);
        told[order[row]] = std::move(matches[row]);
    }
    return told;
}

/// Step 1 of the rule, then the others: one match a track, in the tracks' order.
std::vector<Match> Identifier::decided(const std::vector<const Sighting*>& tracks) {
    std::vector<float> features;
    std::vector<Span> spans;
    for (const Sighting* track : tracks) {
        features.insert(features.end(), track->feature.begin(), track->feature.end());
        spans.push_back(span_of(*track));
    }
    features = unit(features, gallery_.about().dim);
    Square<char> apart(tracks.size());
    for (std::size_t row = 0; row < tracks.size(); ++row) {
        for (std::size_t other = 0; other < tracks.size(); ++other) {
            apart.at(row, other) = static_cast<char>(watch::apart(spans[row], spans[other]));
        }
    }
    const std::vector<Rows> clusters = clustered(features, dim_, apart, rules_.threshold);
    const std::vector<Choice> choices = chosen(tracks, features, clusters, apart);
    std::vector<Match> matches(tracks.size());
    for (std::size_t cluster = 0; cluster < clusters.size(); ++cluster) {
        std::vector<Match> found = settled(tracks, features, clusters[cluster], choices[cluster]);
        for (std::size_t i = 0; i < found.size(); ++i) matches[clusters[cluster][i]] = std::move(found[i]);
    }
    return matches;
}

/// Step 2: one choice a cluster. Of all pairs the best score is settled first; what is sure by an earlier
/// part of the track comes before all others.
std::vector<Identifier::Choice> Identifier::chosen(const std::vector<const Sighting*>& tracks,
                                                   const std::vector<float>& features,
                                                   const std::vector<Rows>& clusters,
                                                   const Square<char>& apart) {
    const std::vector<std::vector<Hit>> found = hits(features);
    std::vector<std::tuple<bool, double, std::size_t, std::int64_t>>
        pairs;  // unsure, falling score, cluster, vehicle
    for (std::size_t cluster = 0; cluster < clusters.size(); ++cluster) {
        std::set<std::int64_t> sure, all;
        for (std::size_t row : clusters[cluster]) {
            if (const auto part = presence_.part_of(*tracks[row])) sure.insert(*part);
            for (const Hit& hit : found[row]) all.insert(hit.vehicle);
        }
        all.insert(sure.begin(), sure.end());
        if (all.empty()) continue;
        const std::vector<std::int64_t> vehicles(all.begin(), all.end());
        const std::vector<float> scores = gallery_.scores(rows_of(features, clusters[cluster]), vehicles);
        for (std::size_t i = 0; i < vehicles.size(); ++i) {
            float sum = 0;
            for (std::size_t row = i; row < scores.size(); row += vehicles.size()) sum += scores[row];
            const auto mean = static_cast<double>(sum / static_cast<float>(clusters[cluster].size()));
            pairs.emplace_back(sure.count(vehicles[i]) == 0, -mean, cluster, vehicles[i]);
        }
    }
    std::sort(pairs.begin(), pairs.end());
    std::vector<Choice> choices(clusters.size(), Choice{std::nullopt, std::nullopt, kNobody});
    std::map<std::int64_t, Rows> given;  // rows of this call, by vehicle
    for (const auto& [unsure, falling, cluster, vehicle] : pairs) {
        const Rows& rows = clusters[cluster];
        Rows& held = given[vehicle];
        const auto barred = [&, which = vehicle](std::size_t row) {
            return presence_.bars(which, *tracks[row]) ||
                   std::any_of(held.begin(), held.end(),
                               [&](std::size_t other) { return apart.at(row, other) != 0; });
        };
        if (choices[cluster].score > kNobody || std::any_of(rows.begin(), rows.end(), barred)) continue;
        choices[cluster].score = -falling;
        if (unsure && !(-falling >= rules_.threshold)) continue;
        choices[cluster].vehicle = vehicle;
        choices[cluster].name = gallery_.name_of(vehicle);
        held.insert(held.end(), rows.begin(), rows.end());
    }
    return choices;
}

/// For each row at least every vehicle that reaches the threshold.
std::vector<std::vector<Hit>> Identifier::hits(const std::vector<float>& features) const {
    for (std::int64_t k = 8;; k *= 4) {
        std::vector<std::vector<Hit>> found = gallery_.search(features, k);
        const bool more = std::any_of(found.begin(), found.end(), [&](const std::vector<Hit>& best) {
            return static_cast<std::int64_t>(best.size()) == k &&
                   static_cast<double>(best.back().score) >= rules_.threshold;
        });
        if (!more) return found;
    }
}

/// Step 3 and the writing: one match a row. A known track teaches its vehicle when it is well above the
/// threshold: features that only just passed would let the vehicle drift into another.
std::vector<Match> Identifier::settled(const std::vector<const Sighting*>& tracks,
                                       const std::vector<float>& features, const Rows& rows,
                                       const Choice& choice) {
    std::vector<Match> matches(rows.size(), {std::nullopt, std::nullopt, choice.score, false});
    std::vector<bool> taught(rows.size(), false);
    const std::vector<float> own = rows_of(features, rows);
    if (choice.vehicle) {
        matches.assign(rows.size(), {choice.vehicle, choice.name, choice.score, true});
        if (rules_.enrol) {
            const double enough = rules_.threshold + rules_.margin * (1 - rules_.threshold);
            const std::vector<float> scores = gallery_.scores(own, {*choice.vehicle});
            for (std::size_t i = 0; i < rows.size(); ++i)
                taught[i] = static_cast<double>(scores[i]) >= enough;
        }
    } else if (rules_.enrol && choice.score < new_below_) {
        const std::size_t best =
            *std::max_element(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
                return tracks[a]->quality < tracks[b]->quality;  // of equals the first
            });
        const std::int64_t vehicle = gallery_.add_vehicle(std::nullopt, tracks[best]->picture);
        const std::string name = gallery_.name_of(vehicle);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            float most = -1;
            for (std::size_t j = 0; j < rows.size(); ++j) {
                const auto at = [&](std::size_t row) {
                    return own.begin() + static_cast<std::ptrdiff_t>(row * dim_);
                };
                if (j != i) most = std::max(most, std::inner_product(at(i), at(i + 1), at(j), 0.0F));
            }
            matches[i] = {vehicle, name, i == 0 ? choice.score : static_cast<double>(most), i > 0};
        }
        taught.assign(rows.size(), true);
    } else {
        return matches;
    }
    if (!gallery_.writable()) return matches;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const Sighting& track = *tracks[rows[i]];
        const std::int64_t vehicle = *matches[i].vehicle;
        if (taught[i]) {
            const std::vector<float> feature = rows_of(features, {rows[i]});
            gallery_.add_prototype(vehicle, track.camera, feature, std::max(track.quality, 0.01));
        }
        gallery_.add_sighting(vehicle, track, matches[i].score, rules_.run);
    }
    return matches;
}

std::vector<float> Identifier::rows_of(const std::vector<float>& features, const Rows& rows) const {
    std::vector<float> found;
    for (std::size_t row : rows) {
        const auto first = features.begin() + static_cast<std::ptrdiff_t>(row * dim_);
        found.insert(found.end(), first, first + static_cast<std::ptrdiff_t>(dim_));
    }
    return found;
}

bool earlier(const Sighting& one, const Sighting& other) {
    return std::tie(one.first_time, one.camera, one.track) <
           std::tie(other.first_time, other.camera, other.track);
}

}  // namespace vreid::watch

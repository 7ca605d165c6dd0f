// Who is this: finished tracks become vehicles of the gallery, old ones or new ones, one at a time or
// jointly. Mirrors runtime/identify.py, where the rule is told in full.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "clusters.hpp"
#include "presence.hpp"
#include "vreid/gallery.hpp"
#include "vreid/records.hpp"

namespace vreid::watch {

/// What a run asks of its identities. A vehicle is known from `threshold` on, new below `new_below`, and left
/// unknown between.
struct IdentityRules {
    double threshold = 0.6;
    bool enrol = false;               // unknown vehicles become new ones
    std::optional<double> new_below;  // none: the threshold
    double margin = 0.25;  // of the way from the threshold to 1, for a known track to teach its vehicle
    std::string run;       // written into each sighting
};

/// Gives tracks their vehicles and, in a gallery opened for writing, writes every sighting down.
class Identifier {
 public:
    /// Refused for a threshold outside -1 to 1, or for enrolling into a gallery opened for reading.
    Identifier(Gallery& gallery, IdentityRules rules);

    /// Remember where vehicles were after `since` (seconds since 1970), before this run; for live runs alone.
    void recall(double since);

    /// The vehicles of many finished tracks, decided together and written all or not at all; in the given
    /// order. The answer does not depend on the order of `sightings`.
    std::vector<Match> assign(const std::vector<Sighting>& sightings);

    [[nodiscard]] double threshold() const { return rules_.threshold; }

 private:
    /// What the gallery says of one cluster: the vehicle it is given, or none and the best score that it may
    /// claim.
    struct Choice {
        std::optional<std::int64_t> vehicle;
        std::optional<std::string> name;
        double score;
    };

    std::vector<Match> decided(const std::vector<const Sighting*>& tracks);
    std::vector<Choice> chosen(const std::vector<const Sighting*>& tracks, const std::vector<float>& features,
                               const std::vector<Rows>& clusters, const Square<char>& apart);
    std::vector<std::vector<Hit>> hits(const std::vector<float>& features) const;
    std::vector<Match> settled(const std::vector<const Sighting*>& tracks, const std::vector<float>& features,
                               const Rows& rows, const Choice& choice);
    std::vector<float> rows_of(const std::vector<float>& features, const Rows& rows) const;

    Gallery& gallery_;
    IdentityRules rules_;
    double new_below_;
    std::size_t dim_;
    Presence presence_;
};

/// The order of tracks: by first time, then camera, then number.
bool earlier(const Sighting& one, const Sighting& other);

}  // namespace vreid::watch

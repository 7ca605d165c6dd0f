// The C interface: tracks of one camera, and the vehicles that they are.
#include "vreid/tracks.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "handles.hpp"

using vreid::c::given;
using vreid::c::guarded;
using vreid::c::text_of;

struct vreid_tracks {
    vreid_tracks(vreid_embedder& embedder, std::string camera, vreid::Gallery& gallery,
                 vreid::TrackRules rules)
        : model(embedder), tracks(std::move(camera), gallery, std::move(rules)) {}

    std::mutex turn;
    vreid::c::Failure failure;
    vreid_embedder& model;
    vreid::TrackIdentifier tracks;
};

namespace {

/// `body`'s work on the tracks, in this call's turn.
template <typename Body>
vreid_status on(vreid_tracks* tracks, const Body& body) noexcept {
    return guarded(tracks == nullptr ? nullptr : &tracks->failure, [&] {
        given(tracks, "tracks")
            .model.embedder->refuse_child();  // before it waits for a thread that may not be here
        const std::lock_guard<std::mutex> turn(tracks->turn);
        body(tracks->tracks);
    });
}

vreid::TrackRules rules_of(const vreid_track_rules& rules) {
    vreid::TrackRules made;
    made.threshold = rules.threshold;
    made.new_below = rules.new_below;
    made.enrol_unknown = rules.enrol_unknown != 0;
    made.learn = rules.learn != 0;
    made.began = rules.began;
    made.crops.period = rules.crop_period;
    made.run = rules.run == nullptr ? "" : rules.run;
    return made;
}

vreid_match match_of(const std::optional<vreid::Match>& found, std::int64_t crops) {
    const vreid::Match match = found.value_or(vreid::Match());
    return {match.vehicle.value_or(0), match.score, match.known ? 1 : 0,
            found ? static_cast<int32_t>(crops) : 0};
}

std::int64_t crops_of(const vreid::TrackIdentifier& tracks, int64_t track) {
    const std::optional<vreid::Sighting> sighting = tracks.sighting(track);
    return sighting ? sighting->crops : 0;
}

}  // namespace

extern "C" {

void vreid_track_rules_init(vreid_track_rules* rules, double threshold) {
    if (rules == nullptr) return;
    const vreid::TrackRules usual;
    *rules = {threshold, threshold, usual.began, usual.crops.period, 0, 0, nullptr};
}

vreid_status vreid_tracks_open(const char* camera, vreid_embedder* model, vreid_gallery* gallery,
                               const vreid_track_rules* rules, vreid_tracks** tracks) {
    return guarded(nullptr, [&] {
        vreid::Gallery& known = *given(gallery, "gallery").gallery;
        const vreid::Manifest& manifest = given(model, "model").embedder->manifest();
        given(tracks, "tracks");
        if (manifest.fingerprint != known.about().fingerprint) {
            throw vreid::Refused("the gallery is of " + known.about().model + " and the model is " +
                                 manifest.name + "; give both the same model");
        }
        *tracks = std::make_unique<vreid_tracks>(*model, text_of(camera, "camera"), known,
                                                 rules_of(given(rules, "rules")))
                      .release();
    });
}

void vreid_tracks_close(vreid_tracks* tracks) { delete tracks; }

const char* vreid_tracks_error(const vreid_tracks* tracks) {
    return tracks == nullptr ? vreid_last_error() : tracks->failure.text();
}

vreid_status vreid_tracks_see(vreid_tracks* tracks, const vreid_picture* frame, int64_t index, double time,
                              const vreid_tracked_box* boxes, uint32_t count, uint32_t* embedded) {
    return on(tracks, [&](vreid::TrackIdentifier& it) {
        std::vector<vreid::TrackedBox> found;
        for (uint32_t row = 0; row < count; ++row) {
            const vreid_tracked_box& box = (&given(boxes, "boxes"))[row];
            found.push_back({box.track, {box.x1, box.y1, box.x2, box.y2}, box.kind});
        }
        const cv::Mat picture = vreid::c::picture_of(given(frame, "frame"));
        const std::lock_guard<std::mutex> turn(tracks->model.turn);
        const std::size_t crops = it.see(picture, index, time, found, *tracks->model.embedder);
        if (embedded != nullptr) *embedded = static_cast<uint32_t>(crops);
    });
}

vreid_status vreid_tracks_feature(vreid_tracks* tracks, int64_t track, float* feature, int32_t dim) {
    return on(tracks, [&](const vreid::TrackIdentifier& it) {
        const std::optional<vreid::Sighting> sighting = it.sighting(track);
        if (!sighting) {
            throw vreid::Refused(
                "track " + std::to_string(track) +
                " is not open or no crop of it was embedded; pass its boxes to vreid_tracks_see first");
        }
        if (static_cast<std::size_t>(dim) != sighting->feature.size()) {
            throw vreid::Refused("a track's feature has " + std::to_string(sighting->feature.size()) +
                                 " numbers, not " + std::to_string(dim) + "; pass room for them");
        }
        std::copy(sighting->feature.begin(), sighting->feature.end(), &given(feature, "feature"));
    });
}

vreid_status vreid_tracks_match(vreid_tracks* tracks, int64_t track, vreid_match* match) {
    return on(tracks, [&](const vreid::TrackIdentifier& it) {
        given(match, "match") = match_of(it.match(track), crops_of(it, track));
    });
}

vreid_status vreid_tracks_end(vreid_tracks* tracks, int64_t track, const char* plate, int32_t goes_on,
                              vreid_match* match) {
    return on(tracks, [&](vreid::TrackIdentifier& it) {
        const std::int64_t crops = crops_of(it, track);
        const auto read = plate == nullptr ? std::nullopt : std::optional<std::string>(plate);
        const auto found = it.end(track, read, goes_on != 0);
        if (match != nullptr) *match = match_of(found, crops);
    });
}

}  // extern "C"

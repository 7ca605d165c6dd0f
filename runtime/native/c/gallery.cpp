// The C interface: a gallery, and what is found in it and written to it.
#include <algorithm>
#include <cstring>
#include <memory>

#include "handles.hpp"

using vreid::c::given;
using vreid::c::guarded;
using vreid::c::text_of;

namespace {

/// What the body of a C transaction returned, on its way through the transaction of C++.
struct Returned {
    vreid_status status;
};

template <typename Body>
vreid_status on(vreid_gallery* gallery, const Body& body) noexcept {
    return guarded(gallery == nullptr ? nullptr : &gallery->failure,
                   [&] { body(*given(gallery, "gallery").gallery); });
}

std::vector<float> features_of(const vreid::Gallery& gallery, const float* features, uint64_t count,
                               int32_t dim) {
    if (dim != gallery.about().dim) {
        throw vreid::Refused("features of shape (" + std::to_string(count) + ", " + std::to_string(dim) +
                             ") do not fit a gallery of dimension " + std::to_string(gallery.about().dim) +
                             "; use the gallery's own model");
    }
    if (count == 0) return {};
    const float* begin = &given(features, "features");
    return {begin, begin + count * static_cast<uint64_t>(dim)};
}

cv::Mat maybe_picture(const vreid_picture* picture) {
    return picture == nullptr ? cv::Mat() : vreid::c::picture_of(*picture);
}

void open(const char* path, const vreid::About& about, int32_t write, vreid_gallery** gallery) {
    given(gallery, "gallery");
    auto made = std::make_unique<vreid_gallery>();
    made->gallery.emplace(vreid::open_gallery(text_of(path, "path"), about, write != 0));
    *gallery = made.release();
}

template <typename Number>
void set(Number* where, Number number) {
    if (where != nullptr) *where = number;
}

}  // namespace

extern "C" {

vreid_status vreid_gallery_open(const char* path, const vreid_embedder* model, int32_t write,
                                vreid_gallery** gallery) {
    return guarded(nullptr, [&] {
        const auto& manifest = given(model, "model").embedder->manifest();
        open(path, {manifest.fingerprint, manifest.output.dim, manifest.name}, write, gallery);
    });
}

vreid_status vreid_gallery_open_for(const char* path, const char* fingerprint, int32_t dim, const char* model,
                                    int32_t write, vreid_gallery** gallery) {
    return guarded(nullptr, [&] {
        open(path, {text_of(fingerprint, "fingerprint"), dim, text_of(model, "model")}, write, gallery);
    });
}

void vreid_gallery_close(vreid_gallery* gallery) { delete gallery; }

const char* vreid_gallery_error(const vreid_gallery* gallery) {
    return gallery == nullptr ? vreid_last_error() : gallery->failure.text();
}

int32_t vreid_gallery_dim(const vreid_gallery* gallery) {
    return gallery == nullptr ? 0 : gallery->gallery->about().dim;
}

vreid_status vreid_gallery_count(vreid_gallery* gallery, vreid_counts* counts) {
    return on(gallery, [&](const vreid::Gallery& it) {
        const vreid::Stats stats = it.stats();
        given(counts, "counts") = {stats.vehicles, stats.prototypes, stats.sightings, stats.cameras};
    });
}

vreid_status vreid_gallery_search(vreid_gallery* gallery, const float* features, uint32_t count, int32_t dim,
                                  uint32_t k, vreid_hit* hits, uint32_t* found) {
    return on(gallery, [&](const vreid::Gallery& it) {
        const auto best = it.search(features_of(it, features, count, dim), k);
        if (count == 0) return;
        given(hits, "hits");
        given(found, "found");
        for (std::size_t row = 0; row < best.size(); ++row) {
            vreid_hit* hit = hits + row * k;
            for (const auto& one : best[row]) *hit++ = {one.vehicle, one.score, 0};
            found[row] = static_cast<uint32_t>(best[row].size());
        }
    });
}

vreid_status vreid_gallery_name(vreid_gallery* gallery, int64_t vehicle, char* name, uint64_t size,
                                uint64_t* length) {
    return on(gallery, [&](const vreid::Gallery& it) {
        if (size > 0) given(name, "name");
        const std::string called = it.name_of(vehicle);
        set<uint64_t>(length, called.size());
        if (size == 0) return;
        const uint64_t fits = std::min<uint64_t>(size - 1, called.size());
        std::memcpy(name, called.data(), fits);
        name[fits] = '\0';
    });
}

vreid_status vreid_gallery_find(vreid_gallery* gallery, const char* text, int64_t* vehicle) {
    return on(gallery,
              [&](const vreid::Gallery& it) { given(vehicle, "vehicle") = it.find(text_of(text, "text")); });
}

vreid_status vreid_gallery_vehicles(vreid_gallery* gallery, int64_t* vehicles, uint64_t room,
                                    uint64_t* count) {
    return on(gallery, [&](const vreid::Gallery& it) {
        given(count, "count");
        if (room > 0) given(vehicles, "vehicles");
        const auto every = it.vehicles(false);
        for (uint64_t row = 0; row < std::min<uint64_t>(room, every.size()); ++row)
            vehicles[row] = every[row].id;
        *count = every.size();
    });
}

vreid_status vreid_gallery_enrol(vreid_gallery* gallery, const char* name, const char* view,
                                 const float* features, uint32_t count, int32_t dim,
                                 const vreid_picture* picture, int64_t* vehicle) {
    return on(gallery, [&](vreid::Gallery& it) {
        const std::vector<float> rows = features_of(it, features, count, dim);
        const std::string seen_from = text_of(view, "view");
        const cv::Mat face = maybe_picture(picture);
        int64_t made = 0;
        it.transaction([&] {
            made = it.add_vehicle(name == nullptr ? std::nullopt : std::optional<std::string>(name), face);
            for (auto row = rows.begin(); row != rows.end(); row += dim) {
                it.add_prototype(made, seen_from, {row, row + dim});
            }
        });
        set(vehicle, made);
    });
}

vreid_status vreid_gallery_add_prototype(vreid_gallery* gallery, int64_t vehicle, const char* view,
                                         const float* feature, int32_t dim, double weight,
                                         int64_t* prototype) {
    return on(gallery, [&](vreid::Gallery& it) {
        const auto holder =
            it.add_prototype(vehicle, text_of(view, "view"), features_of(it, feature, 1, dim), weight);
        set<int64_t>(prototype, holder.value_or(0));
    });
}

vreid_status vreid_gallery_add_sighting(vreid_gallery* gallery, int64_t vehicle,
                                        const vreid_sighting* sighting, int64_t* id) {
    return on(gallery, [&](vreid::Gallery& it) {
        const vreid_sighting& given_sighting = given(sighting, "sighting");
        vreid::Sighting seen;
        seen.camera = text_of(given_sighting.camera, "camera");
        seen.track = given_sighting.track;
        seen.first_frame = given_sighting.first_frame;
        seen.last_frame = given_sighting.last_frame;
        seen.first_time = given_sighting.first_time;
        seen.last_time = given_sighting.last_time;
        seen.kind = given_sighting.kind;
        seen.feature = features_of(it, given_sighting.feature, 1, given_sighting.dim);
        seen.quality = given_sighting.quality;
        seen.picture = maybe_picture(given_sighting.picture);
        seen.seen = given_sighting.seen;
        if (given_sighting.plate != nullptr) seen.plate = given_sighting.plate;
        set(id, it.add_sighting(vehicle, seen, given_sighting.score,
                                given_sighting.run == nullptr ? "" : given_sighting.run));
    });
}

vreid_status vreid_gallery_rename(vreid_gallery* gallery, int64_t vehicle, const char* name) {
    return on(gallery, [&](vreid::Gallery& it) { it.rename(vehicle, text_of(name, "name")); });
}

vreid_status vreid_gallery_remove(vreid_gallery* gallery, int64_t vehicle) {
    return on(gallery, [&](vreid::Gallery& it) { it.remove(vehicle); });
}

vreid_status vreid_gallery_transaction(vreid_gallery* gallery, vreid_status (*body)(vreid_gallery*, void*),
                                       void* context) {
    vreid_status returned = VREID_OK;
    const vreid_status status = on(gallery, [&](vreid::Gallery& it) {
        if (body == nullptr) throw vreid::Refused("body is NULL; pass one");
        try {
            it.transaction([&] {
                returned = body(gallery, context);
                if (returned != VREID_OK) throw Returned{returned};
            });
        } catch (const Returned&) {  // its last call has set the error already
        }
    });
    return status != VREID_OK ? status : returned;
}

}  // extern "C"

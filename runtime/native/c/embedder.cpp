// The C interface: a model, and the features that it gives.
#include <algorithm>
#include <memory>

#include "handles.hpp"
#include "vreid/picture.hpp"

using vreid::c::given;
using vreid::c::guarded;
using vreid::c::text_of;

namespace {

vreid::c::Failure* failure_of(const vreid_embedder* embedder) {
    return embedder == nullptr ? nullptr : &embedder->failure;
}

void embed(vreid_embedder& embedder, const std::vector<cv::Mat>& pictures, float* features) {
    embedder.embedder->refuse_child();  // before it waits for a thread that may not be here
    const std::lock_guard<std::mutex> turn(embedder.turn);
    const std::vector<float> found = embedder.embedder->embed(pictures);
    std::copy(found.begin(), found.end(), features);
}

}  // namespace

extern "C" {

vreid_status vreid_embedder_open(const char* manifest, int32_t threads, const char* engine,
                                 vreid_embedder** embedder) {
    return guarded(nullptr, [&] {
        given(embedder, "embedder");
        auto made = std::make_unique<vreid_embedder>();
        made->embedder.emplace(
            vreid::open_embedder(text_of(manifest, "manifest"), threads, engine == nullptr ? "" : engine));
        *embedder = made.release();
    });
}

void vreid_embedder_close(vreid_embedder* embedder) { delete embedder; }

const char* vreid_embedder_error(const vreid_embedder* embedder) {
    return embedder == nullptr ? vreid_last_error() : embedder->failure.text();
}

const char* vreid_embedder_name(const vreid_embedder* embedder) {
    return embedder == nullptr ? "" : embedder->embedder->manifest().name.c_str();
}

const char* vreid_embedder_fingerprint(const vreid_embedder* embedder) {
    return embedder == nullptr ? "" : embedder->embedder->manifest().fingerprint.c_str();
}

int32_t vreid_embedder_dim(const vreid_embedder* embedder) {
    return embedder == nullptr ? 0 : embedder->embedder->manifest().output.dim;
}

vreid_status vreid_embedder_threshold(const vreid_embedder* embedder, double* threshold) {
    return guarded(failure_of(embedder), [&] {
        const auto& manifest = given(embedder, "embedder").embedder->manifest();
        if (!manifest.match) {
            throw vreid::Refused("the manifest of " + manifest.name +
                                 " has no threshold; write one with 'vreid verify --write'");
        }
        given(threshold, "threshold") = manifest.match->threshold;
    });
}

vreid_status vreid_embedder_embed(vreid_embedder* embedder, const vreid_picture* pictures, uint32_t count,
                                  float* features) {
    return guarded(failure_of(embedder), [&] {
        given(embedder, "embedder");
        if (count == 0) return;
        given(pictures, "pictures");
        std::vector<cv::Mat> crops;
        crops.reserve(count);
        for (uint32_t row = 0; row < count; ++row) crops.push_back(vreid::c::picture_of(pictures[row]));
        embed(*embedder, crops, &given(features, "features"));
    });
}

vreid_status vreid_embedder_embed_file(vreid_embedder* embedder, const char* path, float* feature) {
    return guarded(failure_of(embedder), [&] {
        given(embedder, "embedder");
        embed(*embedder, {vreid::read_picture(text_of(path, "path"))}, &given(feature, "feature"));
    });
}

}  // extern "C"

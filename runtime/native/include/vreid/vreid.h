/* The native runtime for C, and for whatever speaks C: pictures become features, features find vehicles in a
 * gallery, and the tracks of a detector and a tracker of your own become vehicles.
 *
 * Errors: every function that can fail returns a vreid_status, and nothing is thrown. The sentence, which
 * names what is wrong and what to do, is kept until the next failure: of a handle by its vreid_..._error, of
 * the calling thread by vreid_last_error. What a call that failed would have written to is left as it was.
 * Memory: handles are opaque; each is made by an open and freed by its close. Pictures, features, texts and
 * arrays are the caller's, and are read or filled before a call returns. A text that a handle returns lives
 * as long as the handle, an error text until the next failure. Texts are UTF-8 that ends in a 0. Threads: any
 * thread may use a handle, and calls on one take turns; threads that share one read vreid_last_error. A
 * handle does not survive a fork: the child may close it, and opens its own.
 */
#ifndef VREID_VREID_H
#define VREID_VREID_H

#include <stdint.h>

/* Grows whenever something that was here changes; new functions do not make it grow. */
#define VREID_ABI_VERSION 1

#ifndef VREID_API
#if defined(__GNUC__)
#define VREID_API __attribute__((visibility("default")))
#else
#define VREID_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vreid_embedder vreid_embedder;
typedef struct vreid_gallery vreid_gallery;
typedef struct vreid_tracks vreid_tracks;

typedef int32_t vreid_status;
enum {
    VREID_OK = 0,
    VREID_REFUSED = 2, /* the request was wrong, and the sentence says the fix */
    VREID_FAILED = 3   /* no memory, a full disk, an engine that broke */
};

/* A picture in memory: `height` rows of `width` pixels, blue green red, `stride` bytes from row to row. */
typedef struct vreid_picture {
    const uint8_t* pixels;
    int32_t width;
    int32_t height;
    int64_t stride;
} vreid_picture;

/* A vehicle that a search found; the score is the best cosine over its prototypes. */
typedef struct vreid_hit {
    int64_t vehicle;
    float score;
    int32_t reserved;
} vreid_hit;

/* One finished track. Zero it first: what is 0 or NULL below `feature` is left out. */
typedef struct vreid_sighting {
    const char* camera;
    int64_t track;
    int64_t first_frame;
    int64_t last_frame;
    double first_time; /* seconds on the source's own clock */
    double last_time;
    double quality; /* of the best crop, 0 to 1 */
    double score;   /* the cosine by which the vehicle was known */
    int32_t kind;   /* COCO class: 2 car, 3 motorcycle, 5 bus, 7 truck, else -1 */
    int32_t dim;
    const float* feature;         /* (dim,) of unit length */
    const vreid_picture* picture; /* the best crop */
    const char* plate;
    const char* run;
    double seen; /* last_time as seconds since 1970; 0: now */
} vreid_sighting;

/* One box of a track in a frame, x1 y1 x2 y2 in pixels. `track` is the tracker's number, of one vehicle in
 * one camera and never given again; `kind` is a COCO class, or -1. */
typedef struct vreid_tracked_box {
    int64_t track;
    float x1;
    float y1;
    float x2;
    float y2;
    int32_t kind;
    int32_t reserved;
} vreid_tracked_box;

/* How tracks are matched; vreid_track_rules_init fills it, then change what is to be otherwise. */
typedef struct vreid_track_rules {
    double threshold;      /* the cosine from which a vehicle is known */
    double new_below;      /* with enrol_unknown, vehicles are new below this score */
    double began;          /* when the camera's clock was at 0, in seconds since 1970 */
    double crop_period;    /* seconds after which a track's next crop is embedded */
    int32_t enrol_unknown; /* a track that no vehicle matches becomes a new vehicle */
    int32_t learn;         /* a known track adds a prototype to its vehicle */
    const char* run;       /* written into each sighting; NULL: none */
} vreid_track_rules;

/* What the gallery knows of a track. `score` is the cosine by which `vehicle` was found, or, with vehicle 0,
 * that of the best vehicle that it may be; -HUGE_VAL where there was none to compare with. */
typedef struct vreid_match {
    int64_t vehicle; /* 0: unknown */
    double score;
    int32_t known;    /* 0 for a vehicle that is new */
    int32_t embedded; /* crops that were embedded; 0: nothing is known of the track, nor written */
} vreid_match;

typedef struct vreid_counts {
    int64_t vehicles;
    int64_t prototypes;
    int64_t sightings;
    int64_t cameras;
} vreid_counts;

/* The library's VREID_ABI_VERSION; a program stops when it is not the one that it was compiled with. */
VREID_API uint32_t vreid_abi_version(void);
VREID_API const char* vreid_version(void);
/* Why the last call of this thread that failed did, an opening too; "" when none has. */
VREID_API const char* vreid_last_error(void);

/* The model of a manifest, its engine checked byte for byte. `engine`: NULL, or another backend than the
 * manifest's. */
VREID_API vreid_status vreid_embedder_open(const char* manifest, int32_t threads, const char* engine,
                                           vreid_embedder** embedder);
VREID_API void vreid_embedder_close(vreid_embedder* embedder); /* NULL is passed over */
VREID_API const char* vreid_embedder_error(const vreid_embedder* embedder);
VREID_API const char* vreid_embedder_name(const vreid_embedder* embedder);
VREID_API const char* vreid_embedder_fingerprint(const vreid_embedder* embedder);
VREID_API int32_t vreid_embedder_dim(const vreid_embedder* embedder);
/* The cosine from which a vehicle is known; refused where the manifest has none. */
VREID_API vreid_status vreid_embedder_threshold(const vreid_embedder* embedder, double* threshold);
/* Crops of vehicles of any size -> features (count, dim) of unit length. */
VREID_API vreid_status vreid_embedder_embed(vreid_embedder* embedder, const vreid_picture* pictures,
                                            uint32_t count, float* features);
/* The picture in a file -> its feature (dim,). */
VREID_API vreid_status vreid_embedder_embed_file(vreid_embedder* embedder, const char* path, float* feature);

/* The gallery at `path` for the features of `model`, to read or to `write`; made when it is to be written and
 * not there. */
VREID_API vreid_status vreid_gallery_open(const char* path, const vreid_embedder* model, int32_t write,
                                          vreid_gallery** gallery);
/* The same without a model: by the fingerprint of its features, their dimension, and its name. */
VREID_API vreid_status vreid_gallery_open_for(const char* path, const char* fingerprint, int32_t dim,
                                              const char* model, int32_t write, vreid_gallery** gallery);
VREID_API void vreid_gallery_close(vreid_gallery* gallery); /* NULL is passed over */
VREID_API const char* vreid_gallery_error(const vreid_gallery* gallery);
VREID_API int32_t vreid_gallery_dim(const vreid_gallery* gallery);
VREID_API vreid_status vreid_gallery_count(vreid_gallery* gallery, vreid_counts* counts);
/* Features (count, dim) -> for each the best k vehicles, falling: hits (count, k), of which `found` (count,)
 * are filled. */
VREID_API vreid_status vreid_gallery_search(vreid_gallery* gallery, const float* features, uint32_t count,
                                            int32_t dim, uint32_t k, vreid_hit* hits, uint32_t* found);
/* As much of the vehicle's name as fits `size` bytes, with a 0 at its end; 804 are enough. `length`: NULL, or
 * its bytes. */
VREID_API vreid_status vreid_gallery_name(vreid_gallery* gallery, int64_t vehicle, char* name, uint64_t size,
                                          uint64_t* length);
/* The vehicle that a person calls by name, by id, or by id=ID. */
VREID_API vreid_status vreid_gallery_find(vreid_gallery* gallery, const char* text, int64_t* vehicle);
/* The ids of all vehicles, rising; at most `room` are written, `count` is how many there are. */
VREID_API vreid_status vreid_gallery_vehicles(vreid_gallery* gallery, int64_t* vehicles, uint64_t room,
                                              uint64_t* count);

/* A new vehicle with features (count, dim) of `view`, all or nothing. `name` and `picture` may be NULL. */
VREID_API vreid_status vreid_gallery_enrol(vreid_gallery* gallery, const char* name, const char* view,
                                           const float* features, uint32_t count, int32_t dim,
                                           const vreid_picture* picture, int64_t* vehicle);
/* Let a feature (dim,) stand for a vehicle too. `prototype`: NULL, or the one that holds it; 0: it was itself
 * the lightest. */
VREID_API vreid_status vreid_gallery_add_prototype(vreid_gallery* gallery, int64_t vehicle, const char* view,
                                                   const float* feature, int32_t dim, double weight,
                                                   int64_t* prototype);
/* Write down where and when a vehicle was seen. `id`: NULL, or the sighting's. */
VREID_API vreid_status vreid_gallery_add_sighting(vreid_gallery* gallery, int64_t vehicle,
                                                  const vreid_sighting* sighting, int64_t* id);
VREID_API vreid_status vreid_gallery_rename(vreid_gallery* gallery, int64_t vehicle, const char* name);
VREID_API vreid_status vreid_gallery_remove(vreid_gallery* gallery, int64_t vehicle);
/* All that `body` writes is kept together, or nothing when it returns anything but VREID_OK, which is then
 * returned. Nests. Other threads that use the handle wait meanwhile. */
VREID_API vreid_status vreid_gallery_transaction(vreid_gallery* gallery,
                                                 vreid_status (*body)(vreid_gallery* gallery, void* context),
                                                 void* context);

/* The rules of `vreid run` with this threshold, for a gallery that is only searched. */
VREID_API void vreid_track_rules_init(vreid_track_rules* rules, double threshold);
/* The tracks of one camera. `model` embeds their crops, `gallery` knows the vehicles; both outlive the
 * tracks, and those of several cameras may share them. The body of a vreid_gallery_transaction may not use
 * tracks that another thread uses at the same time. */
VREID_API vreid_status vreid_tracks_open(const char* camera, vreid_embedder* model, vreid_gallery* gallery,
                                         const vreid_track_rules* rules, vreid_tracks** tracks);
VREID_API void vreid_tracks_close(vreid_tracks* tracks); /* NULL is passed over; open tracks are dropped */
VREID_API const char* vreid_tracks_error(const vreid_tracks* tracks);
/* The boxes of frame `index` (from 0), `time` in seconds on the camera's clock: the crops that are worth it
 * are embedded. `embedded`: NULL, or how many. Boxes that are not finite, empty or outside the frame are left
 * out. */
VREID_API vreid_status vreid_tracks_see(vreid_tracks* tracks, const vreid_picture* frame, int64_t index,
                                        double time, const vreid_tracked_box* boxes, uint32_t count,
                                        uint32_t* embedded);
/* The feature (dim,) of unit length of an open track: the mean of its crops' features, weighted by the
 * squares of their qualities. Refused where no crop of it was embedded. */
VREID_API vreid_status vreid_tracks_feature(vreid_tracks* tracks, int64_t track, float* feature, int32_t dim);
/* The vehicle of an open track by what was seen of it so far; nothing is written. */
VREID_API vreid_status vreid_tracks_match(vreid_tracks* tracks, int64_t track, vreid_match* match);
/* The track has ended: its vehicle, written down in a gallery opened for writing. `plate`: NULL, or what was
 * read. A track that `goes_on`, such as a parked vehicle's, has ended a part of itself; its next parts get
 * the same vehicle. */
VREID_API vreid_status vreid_tracks_end(vreid_tracks* tracks, int64_t track, const char* plate,
                                        int32_t goes_on, vreid_match* match);

#ifdef __cplusplus
}
#endif

#endif

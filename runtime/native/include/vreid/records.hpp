// The records that flow through a run. A track is one camera's, a vehicle is the world's. Mirrors
// runtime/records.py.
#pragma once

#include <cstdint>
#include <limits>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "vreid/preprocess.hpp"

namespace vreid {

/// One picture of one camera; `index` counts from 0, `time` is in seconds on the source's own clock.
struct Frame {
    std::string camera;
    std::int64_t index = 0;
    double time = 0;
    cv::Mat image;  // CV_8UC3, BGR
};

/// A vehicle in one frame.
struct Detection {
    Box box{};
    float score = 0;
    int kind = -1;  // COCO class or -1
};

using Detections = std::vector<Detection>;

/// A detection that belongs to a confirmed track; ids count from 1 within one camera.
struct Tracked {
    std::int64_t id = 0;
    Detection seen;
};

/// One finished track, as it is told to the gallery and written down.
struct Sighting {
    std::string camera;
    std::int64_t track = 0;
    std::int64_t first_frame = 0;
    std::int64_t last_frame = 0;
    double first_time = 0;  // seconds on the source's own clock
    double last_time = 0;
    int kind = -1;                     // COCO class or -1
    std::vector<float> feature;        // (dim,) unit length: the quality-weighted mean of its embedded crops
    std::int64_t crops = 0;            // how many were embedded
    double quality = 0;                // of the best crop, 0-1
    cv::Mat picture;                   // the best crop, BGR
    double seen = 0;                   // last_time as seconds since 1970
    std::optional<std::string> plate;  // what an outside reader of licence plates read, if there is one
};

/// What the gallery says of a feature: the vehicle, the cosine score (-inf: nobody to compare), and whether
/// that passes.
struct Match {
    std::optional<std::int64_t> vehicle;
    std::optional<std::string> name;
    double score = -std::numeric_limits<double>::infinity();
    bool known = false;
};

/// COCO class -> its name, "vehicle" where there is none or it is no vehicle's.
std::string kind_name(int kind);

}  // namespace vreid

// What is written down of a finished track. A track is one camera's, a vehicle is the world's.
#pragma once

#include <cstdint>
#include <opencv2/core.hpp>
#include <optional>
#include <string>
#include <vector>

#include "vreid/export.hpp"

namespace vreid {

/// One finished track, as it is given to the gallery and written down.
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

/// COCO class -> its name, "vehicle" where there is none or it is not a vehicle's.
VREID_API std::string kind_name(int kind);

}  // namespace vreid

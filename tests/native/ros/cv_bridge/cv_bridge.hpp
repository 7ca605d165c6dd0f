// A stand-in for ROS 2's cv_bridge: it throws where the real one throws, for encodings that it does not know
// and for data that does not fit.
#pragma once

#include <memory>
#include <opencv2/core.hpp>
#include <stdexcept>
#include <string>

#include "sensor_msgs/msg/image.hpp"

namespace cv_bridge {

class Exception : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct CvImage {
    cv::Mat image;
};

using CvImageConstPtr = std::shared_ptr<const CvImage>;

inline CvImageConstPtr toCvShare(const sensor_msgs::msg::Image::ConstSharedPtr& source,
                                 const std::string& wanted) {
    if (source->encoding != wanted) throw Exception("Unrecognized image encoding [" + source->encoding + "]");
    if (source->step < 3 * source->width) throw Exception("Image is wrongly formed: step < width * 3");
    if (source->data.size() != std::size_t{source->height} * source->step)
        throw Exception("Image is wrongly formed");
    auto made = std::make_shared<CvImage>();
    made->image = cv::Mat(static_cast<int>(source->height), static_cast<int>(source->width), CV_8UC3,
                          const_cast<std::uint8_t*>(source->data.data()), source->step);
    return made;
}

}  // namespace cv_bridge

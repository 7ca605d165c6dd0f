// A stand-in for ROS 2's messages.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace vision_msgs::msg {

struct Point2D {
    double x = 0;
    double y = 0;
};

struct Pose2D {
    Point2D position;
    double theta = 0;
};

struct BoundingBox2D {
    Pose2D center;
    double size_x = 0;
    double size_y = 0;
};

struct Detection2D {
    BoundingBox2D bbox;
    std::string id;
};

struct Detection2DArray {
    using ConstSharedPtr = std::shared_ptr<const Detection2DArray>;
    std::vector<Detection2D> detections;
};

}  // namespace vision_msgs::msg

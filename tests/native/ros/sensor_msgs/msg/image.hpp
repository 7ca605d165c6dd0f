// A stand-in for ROS 2's message.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sensor_msgs::msg {

struct Time {
    std::int32_t sec = 0;
    std::uint32_t nanosec = 0;
};

struct Header {
    Time stamp;
};

struct Image {
    using ConstSharedPtr = std::shared_ptr<const Image>;
    Header header;
    std::uint32_t height = 0;
    std::uint32_t width = 0;
    std::string encoding;
    std::uint32_t step = 0;
    std::vector<std::uint8_t> data;
};

}  // namespace sensor_msgs::msg

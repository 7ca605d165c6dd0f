// A stand-in for ROS 2's message_filters.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "rclcpp/rclcpp.hpp"

namespace message_filters {

template <typename Message>
struct Subscriber {
    Subscriber(rclcpp::Node* node, std::string name, const rclcpp::rmw_qos_profile_t& /*profile*/)
        : topic(std::move(name)) {
        if (node == nullptr) throw std::invalid_argument("a node");
    }
    std::string topic;
};

}  // namespace message_filters

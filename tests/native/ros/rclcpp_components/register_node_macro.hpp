// A stand-in: a class that is registered can be made of options.
#pragma once

#include <type_traits>

#include "rclcpp/rclcpp.hpp"

#define RCLCPP_COMPONENTS_REGISTER_NODE(type) \
    static_assert(std::is_constructible_v<type, const rclcpp::NodeOptions&>);

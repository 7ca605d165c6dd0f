// A stand-in for ROS 2's rclcpp, strict where the real one is: parameters have to be declared once and given,
// and what is logged is kept for the test. It holds only what the node of examples/ros2 calls.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace rclcpp {

using Value = std::variant<std::string, std::int64_t, double>;

struct NodeOptions {
    std::map<std::string, Value> parameters;
};

struct rmw_qos_profile_t {};

struct SensorDataQoS {
    [[nodiscard]] rmw_qos_profile_t get_rmw_qos_profile() const { return {}; }
};

struct Clock {};

struct Logger {
    std::vector<std::string>* lines;
};

template <typename Message>
class Publisher {
 public:
    using SharedPtr = std::shared_ptr<Publisher>;
    void publish(const Message& message) { sent.push_back(message); }
    std::vector<Message> sent;
};

class Node {
 public:
    Node(std::string name, NodeOptions options) : name_(std::move(name)), options_(std::move(options)) {}
    virtual ~Node() = default;

    template <typename T>
    T declare_parameter(const std::string& name) {
        const auto found = declared(name);
        if (found == options_.parameters.end())
            throw std::runtime_error("parameter '" + name + "' is not initialized");
        return value_of<T>(found->second);
    }

    template <typename T>
    T declare_parameter(const std::string& name, const T& usual) {
        const auto found = declared(name);
        return found == options_.parameters.end() ? usual : value_of<T>(found->second);
    }

    template <typename Message>
    std::shared_ptr<Publisher<Message>> create_publisher(const std::string& topic, int depth) {
        if (depth < 1) throw std::invalid_argument("a depth of at least 1");
        auto made = std::make_shared<Publisher<Message>>();
        publishers[topic] = made;
        return made;
    }

    [[nodiscard]] Logger get_logger() { return {&logged}; }
    [[nodiscard]] std::shared_ptr<Clock> get_clock() { return std::make_shared<Clock>(); }

    std::vector<std::string> logged;
    std::map<std::string, std::shared_ptr<void>> publishers;

 private:
    std::map<std::string, Value>::const_iterator declared(const std::string& name) {
        if (!names_[name].empty())
            throw std::runtime_error("parameter '" + name + "' has already been declared");
        names_[name] = name;
        return options_.parameters.find(name);
    }

    template <typename T>
    static T value_of(const Value& value) {
        if constexpr (std::is_same_v<T, std::string>) {
            return std::get<std::string>(value);
        } else if constexpr (std::is_floating_point_v<T>) {
            return std::get<double>(value);
        } else {
            return static_cast<T>(std::get<std::int64_t>(value));
        }
    }

    std::string name_;
    NodeOptions options_;
    std::map<std::string, std::string> names_;
};

}  // namespace rclcpp

#define RCLCPP_ERROR_THROTTLE(logger, clock, milliseconds, form, text) \
    do {                                                               \
        static_cast<void>(clock);                                      \
        char line[1000];                                               \
        std::snprintf(line, sizeof line, form, text);                  \
        (logger).lines->push_back(line);                               \
    } while (false)

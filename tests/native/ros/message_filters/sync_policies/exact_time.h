// A stand-in for ROS 2's message_filters.
#pragma once

namespace message_filters::sync_policies {

template <typename First, typename Second>
struct ExactTime {
    using first = First;
    using second = Second;
    explicit ExactTime(unsigned /*queue*/) {}
};

}  // namespace message_filters::sync_policies

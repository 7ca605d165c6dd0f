// A stand-in for ROS 2's message_filters: the test gives the two messages; what the callback throws ends the
// process in ROS, and the test here.
#pragma once

#include <functional>
#include <memory>

#include "message_filters/subscriber.h"

namespace message_filters {

template <typename Policy>
class Synchronizer {
 public:
    using First = std::shared_ptr<const typename Policy::first>;
    using Second = std::shared_ptr<const typename Policy::second>;

    Synchronizer(const Policy& /*policy*/, Subscriber<typename Policy::first>& /*one*/,
                 Subscriber<typename Policy::second>& /*other*/) {
        last() = this;
    }

    template <typename Class>
    void registerCallback(void (Class::*method)(const First&, const Second&), Class* object) {
        callback_ = [=](const First& one, const Second& other) { (object->*method)(one, other); };
    }

    void give(const First& one, const Second& other) const { callback_(one, other); }

    static Synchronizer*& last() {
        static Synchronizer* one = nullptr;
        return one;
    }

 private:
    std::function<void(const First&, const Second&)> callback_;
};

}  // namespace message_filters

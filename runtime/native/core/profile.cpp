// Times of stages: all while few, a fair sample when many.
#include "vreid/profile.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numeric>

namespace vreid {

Profile::Timer::Timer(Profile& profile, std::string stage)
    : profile_(profile),
      stage_(std::move(stage)),
      exceptions_(std::uncaught_exceptions()),
      began_(std::chrono::steady_clock::now()) {}

Profile::Timer::~Timer() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
    if (std::uncaught_exceptions() == exceptions_) profile_.add(stage_, took.count());
}

Profile::Profile(std::size_t kept, std::uint64_t seed) : kept_(kept), random_(seed) {}

void Profile::add(const std::string& stage, double seconds) {
    const std::lock_guard<std::mutex> held(lock_);
    auto found =
        std::find_if(stages_.begin(), stages_.end(), [&](const auto& one) { return one.first == stage; });
    if (found == stages_.end()) found = stages_.insert(stages_.end(), {stage, Times{}});
    Times& times = found->second;
    ++times.count;
    times.seconds += seconds;
    if (times.kept.size() < kept_) {
        times.kept.push_back(seconds);
        return;
    }
    const auto last = static_cast<std::size_t>(times.count) - 1;
    const auto place = std::uniform_int_distribution<std::size_t>(0, last)(random_);
    if (place < kept_) times.kept[place] = seconds;
}

std::vector<std::pair<std::string, Profile::Stage>> Profile::summary() const {
    const std::lock_guard<std::mutex> held(lock_);
    std::vector<std::pair<std::string, Stage>> found;
    for (const auto& [name, times] : stages_) {
        found.push_back({name,
                         {times.count, times.seconds, 1000 * percentile(times.kept, 50),
                          1000 * percentile(times.kept, 90), 1000 * percentile(times.kept, 99)}});
    }
    return found;
}

double percentile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    const double place = static_cast<double>(values.size() - 1) * share / 100;
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (place - std::floor(place)) * (values[above] - values[below]);
}

}  // namespace vreid

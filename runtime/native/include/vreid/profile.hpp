// How long each stage takes, in bounded memory, as runtime/timing.py.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace vreid {

/// Times of the stages by name; beyond `kept` a stage keeps a fair sample (Vitter, Algorithm R, 1985). May be
/// used from any thread.
class Profile {
 public:
    /// What one stage took: seconds in all, and percentiles in milliseconds.
    struct Stage {
        std::int64_t count = 0;
        double seconds = 0;
        double p50_ms = 0;
        double p90_ms = 0;
        double p99_ms = 0;
    };

    /// Times its own life as one call of `stage`, unless it ends by an exception.
    class Timer {
     public:
        Timer(Profile& profile, std::string stage);
        Timer(const Timer&) = delete;
        Timer& operator=(const Timer&) = delete;
        ~Timer();

     private:
        Profile& profile_;
        std::string stage_;
        int exceptions_;
        std::chrono::steady_clock::time_point began_;
    };

    explicit Profile(std::size_t kept = 20'000, std::uint64_t seed = 0);

    [[nodiscard]] Timer time(const std::string& stage) { return {*this, stage}; }

    /// One call of `stage` took `seconds`.
    void add(const std::string& stage, double seconds);

    /// Each stage that ran, in the order of their first calls.
    [[nodiscard]] std::vector<std::pair<std::string, Stage>> summary() const;

 private:
    struct Times {
        std::int64_t count = 0;
        double seconds = 0;
        std::vector<double> kept;
    };

    std::size_t kept_;
    std::mt19937_64 random_;
    std::vector<std::pair<std::string, Times>> stages_;
    mutable std::mutex lock_;
};

/// numpy.percentile with linear interpolation; `values` may not be empty, `share` is 0..100.
double percentile(std::vector<double> values, double share);

}  // namespace vreid

// What becomes of ended tracks: decided and told at once by a thread of its own when live, all together at
// the end else. Mirrors runtime/deciding.py.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "identify.hpp"
#include "sightings.hpp"
#include "vreid/profile.hpp"
#include "watching.hpp"

namespace vreid::watch {

/// What was told so far.
struct Tally {
    std::int64_t sightings = 0, unknown = 0;
    std::map<std::int64_t, std::set<std::string>> cameras;  // of each vehicle
    std::set<std::int64_t> enrolled;

    void count(const Sighting& sighting, const Match& match);
};

/// Takes ended tracks and tells them with their vehicles. `take` and `close` are called by one thread.
class Deciding {
 public:
    Deciding(Identifier& identifier, SightingsFile& file, Profile& profile, bool live);
    Deciding(const Deciding&) = delete;
    Deciding& operator=(const Deciding&) = delete;
    ~Deciding();

    /// Tracks that have ended. A live run's wait where the disk is slow; throws what the thread failed with.
    void take(std::vector<Ended> ended);

    /// Decide what is left; nothing is taken any more.
    void close();

    /// Once it is closed.
    [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
    void decide_jointly();
    void work();
    void end_thread();
    void tell(const Ended& ended, const Match& match);

    Identifier& identifier_;
    SightingsFile& file_;
    Profile& profile_;
    Tally tally_;
    std::deque<Ended> waiting_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool closing_ = false;
    std::exception_ptr failure_;
    std::thread thread_;  // of a live run
};

}  // namespace vreid::watch

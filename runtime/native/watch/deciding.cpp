// When identities are decided, and by whom.
#include "deciding.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>

namespace vreid::watch {
namespace {

constexpr std::size_t kRoom = 256;  // ended tracks that wait for a slow disk before the cameras have to

}  // namespace

void Tally::count(const Sighting& sighting, const Match& match) {
    ++sightings;
    if (!match.vehicle) {
        ++unknown;
        return;
    }
    if (!match.known) enrolled.insert(*match.vehicle);
    cameras[*match.vehicle].insert(sighting.camera);
}

Deciding::Deciding(Identifier& identifier, SightingsFile& file, Profile& profile, bool live)
    : identifier_(identifier), file_(file), profile_(profile) {
    if (live) thread_ = std::thread([this] { work(); });
}

Deciding::~Deciding() { end_thread(); }

void Deciding::take(std::vector<Ended> ended) {
    for (Ended& one : ended) {
        std::unique_lock lock(mutex_);
        if (thread_.joinable()) {
            changed_.wait(lock, [this] { return waiting_.size() < kRoom || failure_; });
        }
        if (failure_) std::rethrow_exception(failure_);
        waiting_.push_back(std::move(one));
        changed_.notify_all();
    }
}

void Deciding::close() {
    if (!thread_.joinable()) {
        decide_jointly();
        return;
    }
    end_thread();
    if (failure_) std::rethrow_exception(failure_);
}

void Deciding::end_thread() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

/// Told as time went, so that a new vehicle is new where it first was seen.
void Deciding::decide_jointly() {
    if (waiting_.empty()) return;
    const auto began = std::chrono::steady_clock::now();
    std::vector<Sighting> sightings;
    for (const Ended& one : waiting_) sightings.push_back(one.sighting);
    const std::vector<Match> matches = identifier_.assign(sightings);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::vector<std::size_t> order(sightings.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return earlier(sightings[a], sightings[b]); });
    for (std::size_t row : order) {
        profile_.add("search", took.count() / static_cast<double>(order.size()));
        tell(waiting_[row], matches[row]);
    }
    waiting_.clear();
}

/// The thread of a live run: a slow disk never holds up the cameras, only a full queue does.
void Deciding::work() {
    try {
        while (true) {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return !waiting_.empty() || closing_; });
            if (waiting_.empty()) return;
            const Ended one = std::move(waiting_.front());
            waiting_.pop_front();
            changed_.notify_all();
            lock.unlock();
            Match match;
            {
                const auto timer = profile_.time("search");
                match = identifier_.assign({one.sighting}).front();
            }
            const auto timer = profile_.time("tell");
            tell(one, match);
        }
    } catch (...) {  // thrown by take or close
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
        changed_.notify_all();
    }
}

void Deciding::tell(const Ended& ended, const Match& match) {
    tally_.count(ended.sighting, match);
    file_.tell(ended.sighting, match, ended.last);
}

}  // namespace vreid::watch

// In step, or as they come.
#include "merge.hpp"

#include <algorithm>
#include <limits>

namespace vreid::watch {
namespace {

constexpr double kLookUp = 0.2;    // seconds after which `stop` is looked at where no camera gives a frame
constexpr double kGather = 0.002;  // seconds that the first frame waits for those of the other cameras

}  // namespace

Merge::Merge(const Sources& sources, Bell& bell, const std::atomic<bool>& stop)
    : sources_(sources),
      bell_(bell),
      stop_(stop),
      live_(std::any_of(sources.begin(), sources.end(), [](const auto& source) { return source->live(); })),
      half_(0),
      waiting_(sources.size()),
      over_(sources.size()) {
    double fastest = 0;
    for (const auto& source : sources) fastest = std::max(fastest, source->frame_rate());
    if (fastest > 0) half_ = 0.5 / fastest;
}

std::vector<Frame> Merge::next() { return live_ ? as_they_come() : in_step(); }

/// Take what the sources have; whether each has a frame waiting or is over.
bool Merge::look() {
    bool all = true;
    for (std::size_t place = 0; place < sources_.size(); ++place) {
        if (waiting_[place] || over_[place]) continue;
        Frame frame;
        const Source::State state = sources_[place]->poll(frame);
        if (state == Source::State::frame) waiting_[place] = std::move(frame);
        over_[place] = state == Source::State::over;
        all = all && state != Source::State::waiting;
    }
    return all;
}

/// Every frame of every source, in order of time.
std::vector<Frame> Merge::in_step() {
    while (!bell_.wait(kLookUp, [this] { return look(); })) {
        if (stop_) return {};
    }
    double now = std::numeric_limits<double>::infinity();
    for (const auto& frame : waiting_) {
        if (frame) now = std::min(now, frame->time);
    }
    std::vector<Frame> together;
    for (auto& frame : waiting_) {
        if (!frame || !(frame->time == now || frame->time < now + half_)) continue;
        together.push_back(std::move(*frame));
        frame.reset();
    }
    return together;
}

/// What the cameras have right now; a slow camera never holds up the others. A source is asked for its next
/// frame when its last one has been worked off, so a live one gives its newest and a file loses none.
std::vector<Frame> Merge::as_they_come() {
    const auto some = [this] {
        const bool all = look();
        return all || std::any_of(waiting_.begin(), waiting_.end(),
                                  [](const auto& frame) { return frame.has_value(); });
    };
    while (!bell_.wait(kLookUp, some)) {
        if (stop_) return {};
    }
    if (stop_) return {};
    bell_.wait(kGather, [this] { return look(); });
    std::vector<Frame> together;
    for (auto& frame : waiting_) {
        if (!frame) continue;
        together.push_back(std::move(*frame));
        frame.reset();
    }
    return together;
}

}  // namespace vreid::watch

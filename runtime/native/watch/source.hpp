// The seam of the sources: what one is, and how they are opened. Mirrors runtime/sources/table.py.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "address.hpp"
#include "vreid/records.hpp"

namespace vreid::watch {

/// Wakes whoever waits for a frame of any source.
class Bell {
 public:
    void ring();

    /// Until `done` holds or `seconds` are over; `done` is asked under the bell's lock, at every ring.
    bool wait(double seconds, const std::function<bool()>& done);

 private:
    std::mutex mutex_;
    std::condition_variable changed_;
};

/// One camera. A file gives every frame; a live source gives the newest and counts in `dropped` what it left
/// out.
class Source {
 public:
    explicit Source(std::string name) : camera(std::move(name)) {}
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;

    const std::string camera;

    /// What `poll` found: a frame, none yet, or none any more.
    enum class State { frame, waiting, over };

    /// The next frame without waiting for it; rings the bell when there is one. Refused where a file breaks
    /// off.
    virtual State poll(Frame& frame) = 0;

    /// Ask the threads to end; the destructor waits for them.
    virtual void close() = 0;

    [[nodiscard]] virtual bool live() const { return false; }
    [[nodiscard]] virtual double frame_rate() const = 0;  // frames a second, 0 if unknown
    [[nodiscard]] virtual cv::Size size() const = 0;      // of the first frame
    [[nodiscard]] virtual std::int64_t dropped() const { return 0; }
    [[nodiscard]] virtual std::int64_t reconnects() const {
        return 0;
    }  // of a live one: attempts, met or not
    [[nodiscard]] virtual double began() const {
        return 0;
    }  // of a live one: when its clock was at 0, since 1970
    [[nodiscard]] virtual bool met() const { return true; }    // whether it has given a picture
    [[nodiscard]] virtual bool tried() const { return true; }  // whether its first attempt is over
    [[nodiscard]] virtual const std::string& refusal() const {
        return camera;
    }  // said where a live one is away
};

using Sources = std::vector<std::unique_ptr<Source>>;

/// All or none. Live cameras are sought side by side; one that is away is refused when all are, otherwise it
/// is sought on and on and `warn` is told. Refused for two cameras of one name, and for what cannot be read.
Sources open_sources(const std::vector<std::string>& texts, Bell& bell, const std::atomic<bool>& stop,
                     const std::function<void(const std::string&)>& warn, double patience = 10.0);

// The members of the seam: frames that are read one after the other, and what is opened anew when it is lost.

/// The frames of a file or of pictures, one a call; nothing after the last. Refused where one is damaged.
using Reading = std::function<std::optional<cv::Mat>()>;

/// What a file's opening found.
struct Film {
    double frame_rate;
    cv::Size size;
    Reading next;
};

Film open_file(const std::string& where);
Film open_pictures(const Address& address);

/// A live source of any kind: a device, RTSP, a pipeline.
std::unique_ptr<Source> open_camera(const Address& address, Bell& bell);

}  // namespace vreid::watch

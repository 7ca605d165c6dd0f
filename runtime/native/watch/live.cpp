// A live camera: a thread that reads, a mailbox of one frame, drop counters, and reconnection with back-off.
// Mirrors runtime/sources/live.py and cameras.py.
#include <algorithm>
#include <chrono>
#include <filesystem>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>
#include <random>
#include <thread>

#include "source.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

using Clock = std::chrono::steady_clock;
using Opener = std::function<bool(cv::VideoCapture&)>;
constexpr int kOpenMs = 8000, kReadMs = 5000;
constexpr double kShortest = 0.5, kLongest = 30.0;  // seconds until the next attempt
constexpr const char* kNewest = "appsink drop=true max-buffers=1 sync=false";

/// Newest frame wins: a frame that nobody took when the next one came is dropped and counted.
///
/// `index` counts what the camera gave since it was first asked, so gaps in it are drops; `time` is seconds
/// since the source was opened, by a clock that nobody sets. A camera that is away, at the start or later, is
/// sought again after 0.5 s, then twice as long each time, up to 30 s, less a random part so that a site's
/// cameras do not come back at once.
class LiveSource final : public Source {
 public:
    LiveSource(std::string name, Opener opener, std::string refused, Bell& bell)
        : Source(std::move(name)),
          opener_(std::move(opener)),
          refusal_(std::move(refused)),
          bell_(bell),
          born_(Clock::now()),
          began_(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count()),
          thread_([this] { capture(); }) {}

    ~LiveSource() override {
        close();
        thread_.join();
    }

    State poll(Frame& frame) override {
        const std::lock_guard lock(mutex_);
        wanted_ = true;
        if (stop_) return State::over;
        if (!slot_) return State::waiting;
        frame = std::move(*slot_);
        slot_.reset();
        return State::frame;
    }

    void close() override {
        const std::lock_guard lock(mutex_);
        stop_ = true;
        stopped_.notify_all();
    }

    [[nodiscard]] bool live() const override { return true; }
    [[nodiscard]] double frame_rate() const override { return frame_rate_; }
    [[nodiscard]] cv::Size size() const override {
        const std::lock_guard lock(mutex_);
        return size_;
    }
    [[nodiscard]] std::int64_t dropped() const override { return dropped_; }
    [[nodiscard]] std::int64_t reconnects() const override { return reconnects_; }
    [[nodiscard]] double began() const override { return began_; }
    [[nodiscard]] bool met() const override { return size().area() > 0; }
    [[nodiscard]] bool tried() const override { return tried_; }
    [[nodiscard]] const std::string& refusal() const override { return refusal_; }

 private:
    /// The thread: only it touches the capture, so nothing is released under a read.
    void capture() {
        std::mt19937 random{std::random_device{}()};
        double pause = kShortest;
        while (!stop_) {
            if (read_until_lost()) pause = kShortest;
            tried_ = true;
            bell_.ring();
            std::unique_lock lock(mutex_);
            const std::chrono::duration<double> wait(
                std::uniform_real_distribution<>(pause / 2, pause)(random));
            if (stopped_.wait_for(lock, wait, [this] { return stop_.load(); })) return;
            pause = std::min(pause * 2, kLongest);
            ++reconnects_;
        }
    }

    /// One connection, from opening to loss -> whether it gave a frame.
    bool read_until_lost() {
        bool gave = false;
        try {
            cv::VideoCapture capture;
            if (!opener_(capture)) return false;
            const double rate = capture.get(cv::CAP_PROP_FPS);
            frame_rate_ = 0 < rate && rate < 1000 ? rate : 0;
            while (!stop_) {
                cv::Mat image;
                if (!capture.read(image) || image.empty()) break;
                post(std::move(image));
                gave = true;
            }
        } catch (const cv::Exception&) {  // a damaged packet; a backend may throw in place of staying closed
        }
        return gave;
    }

    /// Into the mailbox, over whatever lies there.
    void post(cv::Mat image) {
        // infrared cameras, and pipelines of GRAY8
        if (image.channels() == 1) cv::cvtColor(image, image, cv::COLOR_GRAY2BGR);
        const double now = std::chrono::duration<double>(Clock::now() - born_).count();
        {
            const std::lock_guard lock(mutex_);
            if (size_.area() == 0) {
                size_ = image.size();
            } else if (wanted_) {  // before somebody asks nothing is counted
                ++index_;
                if (slot_) ++dropped_;
            }
            slot_ = Frame{camera, index_, now, std::move(image)};
        }
        bell_.ring();
    }

    Opener opener_;
    std::string refusal_;
    Bell& bell_;
    Clock::time_point born_;
    double began_;
    mutable std::mutex mutex_;
    std::condition_variable stopped_;
    std::optional<Frame> slot_;
    cv::Size size_;
    std::int64_t index_ = 0;
    bool wanted_ = false;
    std::atomic<bool> stop_{false}, tried_{false};
    std::atomic<double> frame_rate_{0};
    std::atomic<std::int64_t> dropped_{0}, reconnects_{0};
    std::thread thread_;  // the last: it uses all of the above
};

Opener opener_of(const std::string& where, int backend, const std::vector<int>& settings) {
    return [where, backend, settings](cv::VideoCapture& capture) {
        return capture.open(where, backend, settings) && capture.isOpened();
    };
}

std::unique_ptr<Source> pipeline_source(const std::string& pipeline, const Address& address, Bell& bell) {
    if (!cv::videoio_registry::hasBackend(cv::CAP_GSTREAMER)) {
        throw Refused(
            "csi:// and gst: need an OpenCV with GStreamer, as JetPack's and Debian's are; build it with "
            "-D WITH_GSTREAMER=ON");
    }
    const std::string refused =
        "the pipeline '" + without_password(address.where) + "' gives no picture; try it with gst-launch-1.0";
    return std::make_unique<LiveSource>(address.camera, opener_of(pipeline, cv::CAP_GSTREAMER, {}), refused,
                                        bell);
}

}  // namespace

std::unique_ptr<Source> open_camera(const Address& address, Bell& bell) {
    const std::string& where = address.where;
    switch (address.kind) {
        case Address::Kind::rtsp: {
            const std::string refused =
                without_password(where) +
                " gives no picture; check the address, the password and the network, for "
                "example with ffplay";
            const bool ffmpeg = cv::videoio_registry::hasBackend(cv::CAP_FFMPEG);
            const std::vector<int> limits{cv::CAP_PROP_OPEN_TIMEOUT_MSEC, kOpenMs,
                                          cv::CAP_PROP_READ_TIMEOUT_MSEC, kReadMs};
            const Opener opener =
                ffmpeg ? opener_of(where, cv::CAP_FFMPEG, limits) : opener_of(where, cv::CAP_ANY, {});
            return std::make_unique<LiveSource>(address.camera, opener, refused, bell);
        }
        case Address::Kind::csi: {
            if (where.find_first_not_of("0123456789") != std::string::npos) {
                throw Refused("csi://" + where +
                              " is no sensor's number; write csi://0, or gst: with a pipeline of your own");
            }
            return pipeline_source(
                "nvarguscamerasrc sensor-id=" + where +
                    " ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=30/1 ! nvvidconv ! "
                    "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! " +
                    kNewest,
                address, bell);
        }
        case Address::Kind::gst: {
            if (where.empty())
                throw Refused("gst: needs a pipeline; write, for example, 'gst:videotestsrc is-live=true'");
            const bool ends = where.find("appsink") != std::string::npos;
            return pipeline_source(
                ends ? where : where + " ! videoconvert ! video/x-raw,format=BGR ! " + kNewest, address,
                bell);
        }
        default:
            break;
    }
    const bool v4l2 = cv::videoio_registry::hasBackend(cv::CAP_V4L2);
    if (v4l2 && !std::filesystem::exists(where))
        throw Refused("there is no camera " + where + "; plug it in");
    const std::string refused =
        "the camera " + where +
        " gives no picture; see that no other program uses it and that you may read it";
    return std::make_unique<LiveSource>(
        address.camera, opener_of(where, v4l2 ? cv::CAP_V4L2 : cv::CAP_ANY, {}), refused, bell);
}

}  // namespace vreid::watch

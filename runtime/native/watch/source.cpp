// Opening of sources, and files read ahead.
#include "source.hpp"

#include <chrono>
#include <deque>
#include <map>
#include <thread>

#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

constexpr std::size_t kAhead = 4;  // frames of a file that are decoded before they are asked for

/// Every frame of a film, decoded by a thread of its own; the time of a frame is index / frame rate.
class FilmSource final : public Source {
 public:
    FilmSource(std::string name, Film film, Bell& bell)
        : Source(std::move(name)), film_(std::move(film)), bell_(bell) {}

    ~FilmSource() override {
        close();
        if (reader_.joinable()) reader_.join();
    }

    State poll(Frame& frame) override {
        std::unique_lock lock(mutex_);
        if (!reader_.joinable() && !closed_) reader_ = std::thread([this] { read(); });
        if (!ready_.empty()) {
            frame = std::move(ready_.front());
            ready_.pop_front();
            room_.notify_one();
            return State::frame;
        }
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
        return over_ || closed_ ? State::over : State::waiting;
    }

    void close() override {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        room_.notify_one();
    }

    [[nodiscard]] double frame_rate() const override { return film_.frame_rate; }
    [[nodiscard]] cv::Size size() const override { return film_.size; }

 private:
    void read() {
        try {
            for (std::int64_t index = 0; auto image = film_.next(); ++index) {
                std::unique_lock lock(mutex_);
                room_.wait(lock, [this] { return ready_.size() < kAhead || closed_; });
                if (closed_) return;
                ready_.push_back(
                    {camera, index, static_cast<double>(index) / film_.frame_rate, std::move(*image)});
                lock.unlock();
                bell_.ring();
            }
        } catch (...) {  // raised where the frame is asked for
            const std::lock_guard lock(mutex_);
            failure_ = std::current_exception();
        }
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        bell_.ring();
    }

    Film film_;
    Bell& bell_;
    std::mutex mutex_;
    std::condition_variable room_;
    std::deque<Frame> ready_;
    std::exception_ptr failure_;
    bool over_ = false, closed_ = false;
    std::thread reader_;
};

std::unique_ptr<Source> opened(const Address& address, Bell& bell) {
    switch (address.kind) {
        case Address::Kind::file:
            return std::make_unique<FilmSource>(address.camera, open_file(address.where), bell);
        case Address::Kind::folder:
        case Address::Kind::pattern:
        case Address::Kind::picture:
            return std::make_unique<FilmSource>(address.camera, open_pictures(address), bell);
        default:
            return open_camera(address, bell);
    }
}

}  // namespace

void Bell::ring() {
    { const std::lock_guard lock(mutex_); }  // nobody is between asking and waiting
    changed_.notify_all();
}

bool Bell::wait(double seconds, const std::function<bool()>& done) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(seconds), done);
}

Sources open_sources(const std::vector<std::string>& texts, Bell& bell, const std::atomic<bool>& stop,
                     const std::function<void(const std::string&)>& warn, double patience) {
    std::vector<Address> addresses;
    std::map<std::string, int> times;
    for (const std::string& text : texts) {
        addresses.push_back(address_of(text));
        ++times[addresses.back().camera];
    }
    for (const auto& [camera, count] : times) {
        if (count > 1) {
            throw Refused(std::to_string(count) + " sources are called '" + camera +
                          "'; give each its own name, such as " + camera + "-a=URI");
        }
    }
    Sources sources;
    for (const Address& address : addresses) sources.push_back(opened(address, bell));
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience);
    const auto all_tried = [&] {
        return std::all_of(sources.begin(), sources.end(),
                           [](const auto& s) { return s->met() || s->tried(); });
    };
    while (!stop && std::chrono::steady_clock::now() < until && !bell.wait(0.2, all_tried)) {
    }
    std::vector<const Source*> away;
    for (const auto& source : sources) {
        if (!source->met()) away.push_back(source.get());
    }
    if (!away.empty() && away.size() == sources.size()) throw Refused(away.front()->refusal());
    for (const Source* missing : away)
        warn(missing->camera + " is away and is sought again: " + missing->refusal());
    return sources;
}

}  // namespace vreid::watch

// Video files and pictures, read losslessly: every frame, in order. Mirrors runtime/sources/file.py and
// images.py.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/videoio.hpp>
#include <opencv2/videoio/registry.hpp>
#include <tuple>

#include "source.hpp"
#include "vreid/errors.hpp"
#include "vreid/picture.hpp"

namespace vreid::watch {
namespace {

namespace fs = std::filesystem;
constexpr double kAssumedRate = 25.0;
constexpr double kNominalRate = 10.0;  // of pictures

/// These write down how many frames they hold; others only how long they last.
bool counted(const std::string& where) {
    std::string end = fs::path(where).extension().string();
    std::transform(end.begin(), end.end(), end.begin(), [](unsigned char c) { return std::tolower(c); });
    return end == ".mp4" || end == ".m4v" || end == ".mov" || end == ".avi";
}

/// The file's own frames a second, or 25 where it names none (0, NaN) or only its clock's ticks (1000 and
/// more).
double usable_rate(double rate) {
    return std::isfinite(rate) && 0 < rate && rate < 1000 ? rate : kAssumedRate;
}

/// OpenCV's own warnings off while a file is tried: the refusal says it better.
class Quiet {
 public:
    Quiet() : before_(cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT)) {}
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;
    ~Quiet() { cv::utils::logging::setLogLevel(before_); }

 private:
    cv::utils::logging::LogLevel before_;
};

/// The state of one pass over a video file.
struct Pass {
    cv::VideoCapture capture;
    cv::Mat ready;  // decoded at opening
    std::string where;
    double rate = 0, promised = 0, position = 0;
    std::int64_t index = 0;
    bool over = false;

    std::optional<cv::Mat> next() {
        if (over) return std::nullopt;
        cv::Mat image = std::move(ready);
        ready = cv::Mat();
        if (image.empty()) {
            position = capture.get(cv::CAP_PROP_POS_MSEC) / 1000;
            if (!capture.read(image)) {
                over = true;
                refuse_broken_off();
                return std::nullopt;
            }
        }
        ++index;
        return image;
    }

    /// More may be missing than the two frames or 2 % by which sound files differ from their own headers.
    void refuse_broken_off() const {
        const auto shown = static_cast<double>(index);
        const double reached = counted(where) ? shown : std::max(shown, std::nearbyint(position * rate) + 1);
        if (!std::isfinite(promised) || promised - reached <= std::max(2.0, 0.02 * promised)) return;
        throw Refused(where + " breaks off at frame " + std::to_string(index) + " of " +
                      std::to_string(std::llround(promised)) + "; copy or re-encode it");
    }
};

/// 2.jpg before 10.jpg; upper and lower case alike.
using Part = std::tuple<int, std::uint64_t, std::string>;
std::vector<Part> natural_order(const std::string& name) {
    std::vector<Part> parts;
    for (std::size_t i = 0; i < name.size();) {
        const bool digits = std::isdigit(static_cast<unsigned char>(name[i])) != 0;
        std::string part;
        for (; i < name.size() && (std::isdigit(static_cast<unsigned char>(name[i])) != 0) == digits; ++i) {
            part += static_cast<char>(std::tolower(static_cast<unsigned char>(name[i])));
        }
        parts.emplace_back(digits ? 0 : 1, digits && part.size() < 19 ? std::stoull(part) : 0,
                           digits ? "" : part);
    }
    parts.emplace_back(2, 0, name);
    return parts;
}

std::vector<fs::path> in_folder(const fs::path& folder) {
    if (!fs::is_directory(folder))
        throw Refused("there is no folder " + folder.string() + "; check the path");
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        if (is_picture(name) && name.front() != '.') paths.push_back(entry.path());
    }
    if (paths.empty()) {
        throw Refused("the folder " + folder.string() +
                      " holds no pictures (.jpg, .jpeg, .png, .bmp); check the path");
    }
    std::sort(paths.begin(), paths.end(), [](const fs::path& a, const fs::path& b) {
        return natural_order(a.filename().string()) < natural_order(b.filename().string());
    });
    return paths;
}

/// By rising number; the first may be any, and gaps are passed over.
std::vector<fs::path> of_pattern(const fs::path& where) {
    Pattern pattern, second;
    pattern_of(where.filename().string(), pattern);
    if (pattern_of(pattern.after, second)) {
        throw Refused(where.string() + " needs exactly one number, such as img_%04d.jpg");
    }
    const fs::path folder = where.has_parent_path() ? where.parent_path() : fs::path(".");
    if (!fs::is_directory(folder))
        throw Refused("there is no folder " + folder.string() + "; check the path");
    const std::size_t width = pattern.width.empty() ? 0 : std::stoul(pattern.width);
    std::vector<std::pair<std::uint64_t, fs::path>> found;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string name = entry.path().filename().string();
        const std::size_t ends = pattern.before.size() + pattern.after.size();
        if (name.size() <= ends || name.compare(0, pattern.before.size(), pattern.before) != 0 ||
            name.compare(name.size() - pattern.after.size(), std::string::npos, pattern.after) != 0) {
            continue;
        }
        const std::string middle = name.substr(pattern.before.size(), name.size() - ends);
        const std::string digits = middle.substr(std::min(middle.find_first_not_of(' '), middle.size()));
        if (digits.empty() || digits.size() > 18 ||
            digits.find_first_not_of("0123456789") != std::string::npos)
            continue;
        const std::uint64_t number = std::stoull(digits);
        std::string written = std::to_string(number);
        if (written.size() < width)
            written.insert(0, width - written.size(), pattern.zero.empty() ? ' ' : '0');
        if (written == middle) found.emplace_back(number, entry.path());
    }
    if (found.empty())
        throw Refused("no picture fits " + where.string() + "; check the path and the number of digits");
    std::sort(found.begin(), found.end());
    std::vector<fs::path> paths;
    for (auto& [number, path] : found) paths.push_back(std::move(path));
    return paths;
}

}  // namespace

Film open_file(const std::string& where) {
    if (!fs::is_regular_file(where)) throw Refused("there is no video " + where + "; check the path");
    std::error_code fault;
    if (fs::file_size(where, fault) == 0)
        throw Refused(where + " is empty (0 bytes); copy or record it again");
    if (!std::ifstream(where)) throw Refused(where + " cannot be read; check its permissions");
    // FFmpeg alone, where there is one: the others take a path for a pattern or guess at damaged files. An
    // absolute path, because "gate:1.mp4" would be a protocol.
    const auto pass = std::make_shared<Pass>();
    pass->where = where;
    const bool ffmpeg = cv::videoio_registry::hasBackend(cv::CAP_FFMPEG);
    {
        const Quiet quiet;
        pass->capture.open(fs::absolute(where).string(), ffmpeg ? cv::CAP_FFMPEG : cv::CAP_ANY);
        if (pass->capture.isOpened()) pass->capture.read(pass->ready);
    }
    if (!pass->capture.isOpened()) {
        throw Refused(
            where +
            " holds no video that OpenCV can read, or is damaged; copy or re-encode it, for example to mp4");
    }
    pass->promised = pass->capture.get(cv::CAP_PROP_FRAME_COUNT);
    if (pass->ready.empty()) {
        if (pass->promised == 0) throw Refused(where + " is a video without frames; record it again");
        throw Refused("the first frame of " + where +
                      " cannot be decoded; copy or re-encode it, for example to H.264");
    }
    pass->rate = pass->capture.get(cv::CAP_PROP_FPS);
    return {usable_rate(pass->rate), pass->ready.size(), [pass] { return pass->next(); }};
}

Film open_pictures(const Address& address) {
    std::vector<fs::path> paths{address.where};
    if (address.kind == Address::Kind::folder) paths = in_folder(address.where);
    if (address.kind == Address::Kind::pattern) paths = of_pattern(address.where);
    const cv::Size size = read_picture(paths.front()).size();
    std::size_t at = 0;
    return {kNominalRate, size, [paths, at]() mutable -> std::optional<cv::Mat> {
                if (at == paths.size()) return std::nullopt;
                return read_picture(paths[at++]);
            }};
}

}  // namespace vreid::watch

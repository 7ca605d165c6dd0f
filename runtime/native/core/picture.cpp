// Reads pictures as models/picture.py does: OpenCV by itself fills the lost part of a truncated JPEG with
// grey.
#include "vreid/picture.hpp"

#include <opencv2/imgcodecs.hpp>
#include <string>
#include <string_view>

#include "files.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

using namespace std::string_view_literals;

std::size_t byte_at(std::string_view content, std::size_t place) {
    return static_cast<unsigned char>(content[place]);
}

/// Whether the byte behind 0xFF makes a marker: not a stuffed zero, a restart, or fill.
bool is_marker(std::size_t byte) { return byte != 0x00 && byte != 0xFF && (byte < 0xD0 || byte > 0xD7); }

/// Walks the segments (ITU T.81, annex B): a thumbnail inside may hold an end marker, what follows the end
/// may be anything.
bool jpeg_ends(std::string_view content) {
    std::size_t at = 2;
    while (true) {
        at = content.find('\xFF', at);
        if (at == std::string_view::npos || at + 1 >= content.size()) return false;
        const std::size_t marker = byte_at(content, at + 1);
        if (!is_marker(marker)) {
            ++at;
            continue;
        }
        if (marker == 0xD9) return true;
        if (at + 3 >= content.size()) return false;
        const std::size_t length = 256 * byte_at(content, at + 2) + byte_at(content, at + 3);
        if (length < 2) return false;
        at += 2 + length;  // after a start of scan, the search itself walks over the coded data
    }
}

/// False when a JPEG ends before its end marker or a PNG before its last chunk; true for all other content.
bool is_complete(std::string_view content) {
    if (content.substr(0, 2) == "\xFF\xD8"sv) return jpeg_ends(content);
    if (content.substr(0, 4) == "\x89PNG"sv) return content.find("IEND") != std::string_view::npos;
    return true;
}

}  // namespace

cv::Mat read_picture(const std::filesystem::path& path) {
    std::string why;
    const std::optional<std::string> read = bytes_of(path, why);
    if (!read) {
        throw Refused("cannot read the picture " + path.string() + " (" + why +
                      "); restore it or leave it out");
    }
    const std::string& content = *read;
    if (content.empty())
        throw Refused("the picture " + path.string() + " is empty; copy it again or leave it out");
    if (!is_complete(content)) {
        throw Refused("the picture " + path.string() + " is cut short; copy it again or leave it out");
    }
    cv::Mat image;
    try {
        // a Mat over the bytes: imdecode does not write to them
        const cv::Mat bytes(1, static_cast<int>(content.size()), CV_8UC1, const_cast<char*>(content.data()));
        image = cv::imdecode(bytes, cv::IMREAD_COLOR);
    } catch (const cv::Exception&) {  // a header that promises more than there is memory for
        image.release();
    }
    if (image.empty()) {
        throw Refused(path.string() + " is not a picture that OpenCV can read; replace it or leave it out");
    }
    return image;
}

}  // namespace vreid

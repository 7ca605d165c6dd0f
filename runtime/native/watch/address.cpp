// How addresses are read.
#include "address.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string_view>

#include "numbers.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

namespace fs = std::filesystem;
using Kind = Address::Kind;
constexpr std::string_view kSpellings =
    "0, /dev/video0, file.mp4, dir/, img_%04d.jpg, rtsp://, csi://0, gst:PIPELINE";
constexpr std::string_view kNameSigns = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
constexpr std::string_view kSchemeSigns = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-";
constexpr std::size_t kLetters = 52;  // with which a scheme begins

std::string small(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

bool is_decimal(std::string_view text) {
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string trimmed(const std::string& text, const char* signs) {
    const std::size_t first = text.find_first_not_of(signs);
    return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(signs) - first + 1);
}

/// Letters, digits, "_", "-" and "." alone, so that a name can be a file's or a column's.
std::string plain(const std::string& name) {
    std::string text;
    bool bad = false;
    for (char sign : name) {
        const bool good = kNameSigns.find(sign) != std::string_view::npos;
        if (good) text += sign;
        if (!good && !bad) text += '_';
        bad = !good;
    }
    return trimmed(text, "_.");
}

Address from_path(const std::string& text) {
    const fs::path path(text);
    if (text.rfind("/dev/", 0) == 0) return {Kind::device, text, path.filename().string()};
    if (fs::is_directory(path) || text.back() == '/') {
        const fs::path whole = fs::weakly_canonical(path);
        return {Kind::folder, text, (whole.has_filename() ? whole : whole.parent_path()).filename().string()};
    }
    Pattern pattern;
    if (pattern_of(path.filename().string(), pattern) && !fs::is_regular_file(path)) {
        std::string stem = path.stem().string();
        while (pattern_of(stem, pattern)) stem = pattern.before + pattern.after;
        const std::string name = trimmed(stem, "_-. ");
        const std::string folder = fs::weakly_canonical(path).parent_path().filename().string();
        return {Kind::pattern, text, name.empty() ? folder : name};
    }
    return {is_picture(text) ? Kind::picture : Kind::file, text, path.stem().string()};
}

/// rtsp://user:word@host:8554/a/b?c -> host_8554_a_b, never the password; 554 is not said.
std::string host_and_path(const std::string& uri) {
    std::string rest = uri.substr(uri.find("://") + 3);
    rest = rest.substr(rest.rfind('@') == std::string::npos ? 0 : rest.rfind('@') + 1);
    rest = rest.substr(0, rest.find_first_of("?#"));
    const std::size_t slash = rest.find('/');
    std::string host = small(rest.substr(0, slash));
    const std::string path = slash == std::string::npos ? "" : trimmed(rest.substr(slash), "/");
    std::string port;
    if (const std::size_t colon = host.rfind(':'); colon != std::string::npos && host.back() != ']') {
        port = host.substr(colon + 1);
        host = host.substr(0, colon);
        if (!port.empty() && (!is_decimal(port) || port.size() > 5 || std::stoi(port) > 65'535)) {
            throw Refused(without_password(uri) + " is not a URI; write rtsp://host:port/path");
        }
    }
    host = trimmed(host, "[]");
    if (host.empty()) throw Refused(without_password(uri) + " names no host; write rtsp://host/path");
    return host + (port.empty() || port == "554" ? "" : "_" + port) + "_" + path;
}

Address from_uri(const std::string& uri) {
    if (uri.rfind("gst:", 0) == 0) {
        std::string rest = uri.substr(4);
        if (rest.rfind("//", 0) == 0) rest = rest.substr(2);
        return {Kind::gst, std::string(stripped(rest)), "gst"};
    }
    if (is_decimal(uri)) {
        const std::string number =
            trimmed(uri, " ").erase(0, std::min(uri.find_first_not_of('0'), uri.size() - 1));
        return {Kind::device, "/dev/video" + number, "video" + number};
    }
    const std::size_t scheme = uri.find("://");
    const bool known =
        scheme != std::string::npos && scheme > 0 && uri.find_first_not_of(kSchemeSigns) == scheme;
    if (!known || kSchemeSigns.find(uri.front()) >= kLetters) return from_path(uri);
    const std::string name = small(uri.substr(0, scheme)), rest = uri.substr(scheme + 3);
    if (name == "file") return from_path(rest);
    if (name == "v4l2") {
        return is_decimal(rest) ? from_uri(rest)
                                : Address{Kind::device, rest, fs::path(rest).filename().string()};
    }
    if (name == "csi") {
        const std::string sensor = trimmed(rest, "/").empty() ? "0" : trimmed(rest, "/");
        return {Kind::csi, sensor, "csi" + sensor};
    }
    if (name == "rtsp" || name == "rtsps") return {Kind::rtsp, uri, host_and_path(uri)};
    if (name == "synth") throw Refused("synth:// is drawn by Python; use 'vreid run', or give a video");
    throw Refused("there is no source of the kind '" + name +
                  "://'; write one of: " + std::string(kSpellings));
}

}  // namespace

Address address_of(const std::string& text) {
    const std::size_t equals = text.find('=');
    const bool named =
        equals != std::string::npos && equals > 0 && text.find_first_not_of(kNameSigns) == equals;
    const std::string name = named ? text.substr(0, equals) : "";
    const std::string uri(stripped(named ? text.substr(equals + 1) : text));
    if (uri.empty()) {
        throw Refused("the source '" + text + "' is empty; write one of: " + std::string(kSpellings));
    }
    if (named && name.find_first_not_of('.') == std::string::npos) {
        throw Refused("'" + name +
                      "' is no name for a camera; write letters and digits, such as gate=" + uri);
    }
    static constexpr std::array kKinds{"file",   "folder", "pattern", "picture",
                                       "device", "rtsp",   "csi",     "gst"};
    Address found = from_uri(uri);
    found.camera = named ? name : plain(found.camera);
    if (found.camera.empty()) found.camera = kKinds.at(static_cast<std::size_t>(found.kind));
    return found;
}

bool pattern_of(const std::string& name, Pattern& found) {
    for (std::size_t mark = name.find('%'); mark != std::string::npos; mark = name.find('%', mark + 1)) {
        const std::size_t width = name.compare(mark + 1, 1, "0") == 0 ? mark + 2 : mark + 1;
        std::size_t end = width;
        while (end < name.size() && end < width + 2 && is_decimal({&name[end], 1})) ++end;
        if (end >= name.size() || name[end] != 'd') continue;
        found = {name.substr(0, mark), name.substr(mark + 1, width - mark - 1),
                 name.substr(width, end - width), name.substr(end + 1)};
        return true;
    }
    return false;
}

std::string without_password(const std::string& uri) {
    const std::size_t scheme = uri.find("://"), at = uri.rfind('@');
    if (scheme == std::string::npos || at == std::string::npos || at < scheme) return uri;
    return uri.substr(0, scheme + 3) + "***@" + uri.substr(at + 1);
}

bool is_picture(const std::string& path) {
    const std::string end = small(fs::path(path).extension().string());
    return end == ".jpg" || end == ".jpeg" || end == ".png" || end == ".bmp";
}

}  // namespace vreid::watch

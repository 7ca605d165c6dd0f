// Addresses: what a person writes for a source, `[name=]URI` with the habits of jetson-utils. Mirrors
// runtime/sources/address.py.
#pragma once

#include <string>

namespace vreid::watch {

/// What kind of source, what it opens, and the name given or derived.
struct Address {
    enum class Kind { file, folder, pattern, picture, device, rtsp, csi, gst };
    Kind kind;
    std::string where;
    std::string camera;
};

/// Refused for an empty text, an unknown scheme, or a name of dots alone. A path with "=" in its name is
/// written ./a=b.mp4.
Address address_of(const std::string& text);

/// Before, "0" or "", the width, and after: the parts of a printf pattern such as img_%04d.jpg; false where
/// there is none.
struct Pattern {
    std::string before, zero, width, after;
};
bool pattern_of(const std::string& name, Pattern& found);

/// The URI as it may be shown: all up to the last "@" hidden, since a password may hold "/" or "#".
std::string without_password(const std::string& uri);

/// Whether the file's name ends as a picture's does.
bool is_picture(const std::string& path);

}  // namespace vreid::watch

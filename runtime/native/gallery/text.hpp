// UTF-8 as Python reads it: what is text, and the forms in which names are written and compared (utf8proc).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vreid::gallery {

/// Whether it is UTF-8 from end to end.
bool is_text(std::string_view text);

/// What may be stored: bytes that are not UTF-8 become "?", one each. A camera named after a file may hold
/// such.
std::string cleaned(std::string_view text);

/// UTF-8 without control characters and ends of lines.
bool is_plain(std::string_view text);

/// Whether a person sees anything of it: a character that is neither a blank nor an invisible sign.
bool is_seen(std::string_view text);

/// UTF-8 -> the same in Unicode's NFC, in which names are written; what is not UTF-8 becomes "?".
std::string nfc(std::string_view text);

/// A name in NFC, case folded, and in NFC again: equal for names that are equal but for case.
std::string key_of(std::string_view name);

/// A number as Python prints it.
std::string number_text(double value);

}  // namespace vreid::gallery

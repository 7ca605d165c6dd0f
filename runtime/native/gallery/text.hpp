// UTF-8 as Python reads it: what is text, what of it may be printed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace vreid::gallery {

/// The bytes of the character that begins at `at`, its code point in `point`; 0 where none does.
std::size_t character_at(std::string_view text, std::size_t at, char32_t& point);

/// Whether it is UTF-8 from end to end.
bool is_text(std::string_view text);

/// What may be stored: bytes that are no UTF-8 become "?", one each. A camera named after a file may hold
/// such.
std::string cleaned(std::string_view text);

/// Python's str.isprintable, by the Unicode of Python 3.11: no control, no separator but the space, nothing
/// unassigned.
bool is_printable(char32_t point);
bool is_printable(std::string_view text);

/// How many characters a UTF-8 text has.
std::size_t length_of(std::string_view text);

/// A number as Python prints it.
std::string told(double value);

}  // namespace vreid::gallery

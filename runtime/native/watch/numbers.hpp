// Numbers in text, whatever the locale: how Python reads and writes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vreid::watch {

/// Without white space at both ends.
std::string_view stripped(std::string_view text);

/// The number that the whole of `text` writes in decimal; nothing where it is none.
std::optional<double> number_of(std::string_view text);

/// A finite `value` rounded to `places` decimals as Python's round and repr write it: 1.50 -> 1.5, 2.00
/// -> 2.0.
std::string rounded(double value, int places);

/// "%g"
std::string shortly(double value);

}  // namespace vreid::watch

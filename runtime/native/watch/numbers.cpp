// Reading and writing of numbers.
#include "numbers.hpp"

#include <array>
#include <charconv>

namespace vreid::watch {
namespace {

constexpr std::string_view kWhite = " \t\n\r\f\v";

std::string written(double value, std::chars_format format, int digits) {
    std::array<char, 512> text{};  // 309 digits before the point and the decimals
    const auto done = std::to_chars(text.data(), text.data() + text.size(), value, format, digits);
    return {text.data(), done.ptr};
}

}  // namespace

std::string_view stripped(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kWhite);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kWhite) - first + 1);
}

std::optional<double> number_of(std::string_view text) {
    text = stripped(text);
    if (!text.empty() && text.front() == '+') {
        text.remove_prefix(1);
        if (!text.empty() && text.front() == '-') return std::nullopt;
    }
    double value = 0;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (fault != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::string rounded(double value, int places) {
    std::string text = written(value, std::chars_format::fixed, places);
    if (places <= 0) return text + ".0";
    text.erase(text.find_last_not_of('0') + 1);
    return text.back() == '.' ? text + "0" : text;
}

std::string shortly(double value) { return written(value, std::chars_format::general, 6); }

}  // namespace vreid::watch

// UTF-8, read strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF.
#include "text.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace vreid::gallery {

std::size_t character_at(std::string_view text, std::size_t at, char32_t& point) {
    if (at >= text.size()) return 0;
    const auto first = static_cast<unsigned char>(text[at]);
    if (first < 0x80) {
        point = first;
        return 1;
    }
    const std::size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || at + size > text.size()) return 0;
    point = first & (0x7FU >> size);
    for (std::size_t next = 1; next < size; ++next) {
        const auto byte = static_cast<unsigned char>(text[at + next]);
        if ((byte & 0xC0U) != 0x80) return 0;
        point = (point << 6U) | (byte & 0x3FU);
    }
    const char32_t least = size == 4 ? 0x10000 : size == 3 ? 0x800 : 0x80;
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return point < least || point > 0x10FFFF || surrogate ? 0 : size;
}

bool is_text(std::string_view text) {
    char32_t point = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = character_at(text, at, point);
        if (size == 0) return false;
        at += size;
    }
    return true;
}

std::string cleaned(std::string_view text) {
    std::string clean;
    clean.reserve(text.size());
    char32_t point = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = character_at(text, at, point);
        size == 0 ? clean.append("?") : clean.append(text.substr(at, size));
        at += size == 0 ? 1 : size;
    }
    return clean;
}

bool is_printable(std::string_view text) {
    char32_t point = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = character_at(text, at, point);
        if (size == 0 || !is_printable(point)) return false;
        at += size;
    }
    return true;
}

std::size_t length_of(std::string_view text) {
    std::size_t count = 0;
    for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80 ? 1 : 0;
    return count;
}

std::string told(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return nlohmann::json(value).dump();
}

}  // namespace vreid::gallery

// UTF-8, read strictly: no overlong forms, no surrogates, nothing beyond U+10FFFF.
#include "text.hpp"

#include <utf8proc.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "vreid/errors.hpp"

namespace vreid::gallery {
namespace {

std::string mapped(const std::string& text, int options) {
    struct Free {
        void operator()(utf8proc_uint8_t* made) const { std::free(made); }
    };
    utf8proc_uint8_t* made = nullptr;
    const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &made,
                                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options));
    const std::unique_ptr<utf8proc_uint8_t, Free> owner(made);
    if (size < 0) throw Refused(std::string("a name cannot be read: ") + utf8proc_errmsg(size));
    return {reinterpret_cast<const char*>(made), static_cast<std::size_t>(size)};
}

/// The bytes of the character that begins at `at`, its code point in `point`; 0 where there is none.
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

utf8proc_category_t category_of(char32_t point) {
    return utf8proc_category(static_cast<utf8proc_int32_t>(point));
}

/// Whether it is UTF-8 from end to end, and all of its characters are ones that `fits`.
template <typename Fits>
bool every(std::string_view text, const Fits& fits) {
    char32_t point = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = character_at(text, at, point);
        if (size == 0 || !fits(point)) return false;
        at += size;
    }
    return true;
}

}  // namespace

bool is_text(std::string_view text) {
    return every(text, [](char32_t) { return true; });
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

bool is_plain(std::string_view text) {
    return every(text, [](char32_t point) {
        const auto kind = category_of(point);
        return kind != UTF8PROC_CATEGORY_CC && kind != UTF8PROC_CATEGORY_ZL && kind != UTF8PROC_CATEGORY_ZP;
    });
}

bool is_seen(std::string_view text) {
    return !every(text, [](char32_t point) {
        const auto kind = category_of(point);
        return kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_CF;
    });
}

std::string nfc(std::string_view text) { return mapped(cleaned(text), UTF8PROC_COMPOSE); }

std::string key_of(std::string_view name) { return mapped(nfc(name), UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD); }

std::string number_text(double value) {
    if (std::isnan(value)) return "nan";
    if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
    return nlohmann::json(value).dump();
}

}  // namespace vreid::gallery

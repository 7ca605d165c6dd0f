// Names of vehicles (runtime/gallery/names.py).
#include "names.hpp"

#include <algorithm>

#include "core/fields.hpp"
#include "text.hpp"

namespace vreid::gallery {
namespace {

std::optional<std::int64_t> with_name(const Database& database, const std::string& name) {
    Statement row = database.query("SELECT id FROM vehicles WHERE key = ?", {key_of(name)});
    return row.next() ? std::optional(row.integer(0)) : std::nullopt;
}

std::optional<std::int64_t> number_in(const std::string& text) {
    const std::string bare = text.rfind("id=", 0) == 0 ? text.substr(3) : text;
    const bool digits =
        std::all_of(bare.begin(), bare.end(), [](char one) { return one >= '0' && one <= '9'; });
    return digits && !bare.empty() && bare.size() <= 10 ? std::optional<std::int64_t>(std::stoll(bare))
                                                        : std::nullopt;
}

}  // namespace

std::string given(std::int64_t vehicle) {
    const std::string number = std::to_string(vehicle);
    return "vehicle-" + std::string(number.size() < 4 ? 4 - number.size() : 0, '0') + number;
}

std::string printable(const std::string& name) {
    const std::string normal = is_text(name) ? nfc(name) : std::string();
    if (!is_seen(normal) || !is_plain(normal) || length_of(normal) > kLongest) {
        throw Refused(
            "a vehicle's name must be 1 to 200 printable characters in valid UTF-8, without control "
            "characters; choose another");
    }
    return normal;
}

std::string readable(const std::string& text, const std::string& what) {
    if (!is_plain(text)) {
        throw Refused(what +
                      " has control characters or is not valid UTF-8; write letters, digits and blanks");
    }
    return nfc(text);
}

std::string checked(const Database& database, const std::string& name, std::int64_t vehicle) {
    std::string normal = printable(name);
    if (with_name(database, normal).value_or(vehicle) != vehicle) {
        throw Refused("the gallery already has a vehicle named '" + normal +
                      "'; choose another name or remove that vehicle");
    }
    return normal;
}

std::string pattern_of(const std::string& text) {
    std::string pattern;
    for (const char one : text) pattern += one == '[' ? std::string("[[]") : std::string(1, one);
    return pattern;
}

std::string free_name(const Database& database, const std::string& name) {
    std::string tried = name;
    for (std::int64_t number = 2; with_name(database, tried); ++number)
        tried = name + "-" + std::to_string(number);
    return tried;
}

std::map<std::int64_t, std::string> names_of(const Database& database,
                                             const std::set<std::int64_t>& vehicles) {
    std::map<std::int64_t, std::string> names;
    Statement rows = database.query(
        "SELECT id, name FROM vehicles WHERE id IN (SELECT value FROM json_each(?))", {json_of(vehicles)});
    while (rows.next()) names[rows.integer(0)] = rows.text(1);
    return names;
}

std::int64_t found(const Database& database, const std::string& text) {
    const std::int64_t called = number_in(text).value_or(0);
    const std::int64_t by_name = is_plain(text) ? with_name(database, text).value_or(0) : 0;
    std::int64_t by_id = 0;
    if (called >= 1 && called <= kLastId) {
        Statement row = database.query("SELECT id FROM vehicles WHERE id = ?", {called});
        if (row.next()) by_id = row.integer(0);
    }
    if (by_id != 0 && text.rfind("id=", 0) == 0) return by_id;  // whoever is called so
    if (by_id != 0 && by_name != 0 && by_id != by_name) {
        throw Refused("'" + text + "' is one vehicle's name and another's id; write id=" +
                      std::to_string(by_name) + " or id=" + text);
    }
    if (by_name != 0) return by_name;
    if (by_id != 0) return by_id;
    throw Refused("there is no vehicle '" + shown(text) +
                  "' in the gallery; the list of vehicles has all");
}

}  // namespace vreid::gallery

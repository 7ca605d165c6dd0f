// What vehicles may be called, and who is meant by a name or an id (runtime/gallery/names.py). Both are held
// to tests/data/names/names.json.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "database.hpp"

namespace vreid::gallery {

constexpr std::int64_t kLastId =
    (std::int64_t{1} << 31) - 1;  // MOT text and its readers have 31 bits for an id

/// What a vehicle is called until somebody names it.
std::string given(std::int64_t vehicle);

constexpr std::size_t kLongest = 200;  // characters of a name

/// `name` in NFC, when it has 1 to 200 characters, one to be seen and no control character. Refused
/// otherwise.
std::string printable(const std::string& name);

/// `text` in NFC, for a camera or a view. Refused, in a sentence that `what` begins, for control characters
/// and invalid UTF-8.
std::string readable(const std::string& text, const std::string& what);

/// `name` in NFC, when it is valid and no vehicle but `vehicle` has it. Refused otherwise.
std::string checked(const Database& database, const std::string& name, std::int64_t vehicle = 0);

/// A pattern with * and ? -> an SQL GLOB, in which "[" would be special too.
std::string pattern_of(const std::string& text);

/// `name`, or the first of name-2, name-3, ... that is free.
std::string free_name(const Database& database, const std::string& name);

/// The names of those of `vehicles` that there are.
std::map<std::int64_t, std::string> names_of(const Database& database,
                                             const std::set<std::int64_t>& vehicles);

/// The id of the vehicle called `text`: a name, an id, or id=ID. Refused when nobody or two are meant.
std::int64_t found(const Database& database, const std::string& text);

/// Numbers as JSON, for a statement that takes any number of them.
template <typename Numbers>
std::string json_of(const Numbers& numbers) {
    std::string text = "[";
    for (const std::int64_t number : numbers) text += (text.size() > 1 ? ", " : "") + std::to_string(number);
    return text + "]";
}

}  // namespace vreid::gallery

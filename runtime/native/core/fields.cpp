// Reads the fields of one JSON object strictly, with the reason of a refusal in the words of the Python
// reader.
#include "fields.hpp"

#include <algorithm>

namespace vreid {
namespace {

constexpr std::size_t SHOWN = 60;  // bytes of a file's own words in a message

/// Whether a byte goes on with a character of UTF-8 that began before it.
bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

}  // namespace

std::string shown(std::string text) {
    for (char& byte : text) {
        if (static_cast<unsigned char>(byte) < ' ' || byte == '\x7f') byte = '?';
    }
    if (text.size() <= SHOWN) return text;
    std::size_t end = SHOWN;
    while (end > 0 && is_continuation(text[end])) --end;  // no half character
    return text.substr(0, end) + "...";
}

std::size_t length_of(std::string_view text) {
    return text.size() - static_cast<std::size_t>(std::count_if(text.begin(), text.end(), is_continuation));
}

Fields::Fields(const Json& object, std::string file, std::string place)
    : object_(object), file_(std::move(file)), place_(std::move(place)) {
    if (!object_.is_object()) {
        throw Refused(file_ + ": " + (place_.empty() ? "the whole" : place_) +
                      ": input should be an object; correct the manifest or export the model again");
    }
}

void Fields::refuse(const std::string& name, const std::string& why) const {
    throw Refused(file_ + ": " + shown(place_.empty() ? name : place_ + "." + name) + ": " + why +
                  "; correct the manifest or export the model again");
}

const Json& Fields::field(const std::string& name) {
    read_.insert(name);
    const auto found = object_.find(name);
    if (found == object_.end()) refuse(name, "field required");
    return *found;
}

Fields Fields::object(const std::string& name) {
    return {field(name), file_, place_.empty() ? name : place_ + "." + name};
}

bool Fields::is_null(const std::string& name) { return field(name).is_null(); }

std::string Fields::text(const std::string& name) {
    const Json& value = field(name);
    if (!value.is_string()) refuse(name, "input should be a valid string");
    return value.get<std::string>();
}

std::vector<std::string> Fields::texts(const std::string& name) {
    const Json& value = field(name);
    if (!value.is_array()) refuse(name, "input should be a valid array");
    std::vector<std::string> found;
    for (const Json& part : value) {
        if (!part.is_string())
            refuse(name + "." + std::to_string(found.size()), "input should be a valid string");
        found.push_back(part.get<std::string>());
    }
    return found;
}

std::vector<std::pair<std::string, std::string>> Fields::named_texts(const std::string& name) {
    const Json& value = field(name);
    if (!value.is_object()) refuse(name, "input should be an object");
    std::vector<std::pair<std::string, std::string>> found;
    for (const auto& [key, part] : value.items()) {
        if (!part.is_string()) refuse(name + "." + key, "input should be a valid string");
        found.emplace_back(key, part.get<std::string>());
    }
    return found;
}

std::int64_t Fields::whole_of(const Json& value, const std::string& name, std::int64_t least,
                              std::int64_t most) const {
    if (!value.is_number_integer()) refuse(name, "input should be a valid integer");
    constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > largest)
        refuse(name, "input is too large");
    const auto number = value.get<std::int64_t>();
    if (number < least) refuse(name, "input should be greater than or equal to " + std::to_string(least));
    if (number > most) refuse(name, "input should be less than or equal to " + std::to_string(most));
    return number;
}

std::int64_t Fields::whole(const std::string& name, std::int64_t least, std::int64_t most) {
    return whole_of(field(name), name, least, most);
}

std::vector<std::int64_t> Fields::wholes(const std::string& name, std::int64_t least, std::int64_t most) {
    const Json& value = field(name);
    if (!value.is_array()) refuse(name, "input should be a valid array");
    std::vector<std::int64_t> found;
    for (const Json& part : value) {
        found.push_back(whole_of(part, name + "." + std::to_string(found.size()), least, most));
    }
    return found;
}

double Fields::number(const std::string& name, double least, double most) {
    const Json& value = field(name);
    if (!value.is_number()) refuse(name, "input should be a valid number");
    const auto number = value.get<double>();
    if (!(number >= least && number <= most)) {
        refuse(name, "input should be " + Json(least).dump() + " to " + Json(most).dump());
    }
    return number;
}

bool equal_as_in_python(const Json& value, const Json& wanted) {
    const auto number = [](const Json& one) {
        return one.is_boolean() ? Json(one.get<bool>() ? 1 : 0) : one;
    };
    return number(value) == number(wanted);  // nlohmann compares numbers by value, and others by type too
}

void Fields::only(const std::string& name, const Json& wanted) {
    if (!has(name)) return;
    if (!equal_as_in_python(field(name), wanted)) refuse(name, "input should be " + wanted.dump());
}

void Fields::close() const {
    for (const auto& [name, value] : object_.items()) {
        if (read_.count(name) == 0) refuse(name, "extra inputs are not permitted");
    }
}

}  // namespace vreid

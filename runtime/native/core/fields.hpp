// Reads the fields of one JSON object strictly: an unknown field, or one of another type, is refused by
// name.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vreid/errors.hpp"

namespace vreid {

using Json = nlohmann::json;

/// One object of the file `file` at `place` ("" is the whole). Read every field, then `close`.
class Fields {
 public:
    Fields(const Json& object, std::string file, std::string place);

    [[nodiscard]] Fields object(const std::string& name);
    [[nodiscard]] bool is_null(const std::string& name);  // and is there
    [[nodiscard]] bool has(const std::string& name) const { return object_.contains(name); }
    [[nodiscard]] std::string text(const std::string& name);
    [[nodiscard]] std::vector<std::string> texts(const std::string& name);
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> named_texts(const std::string& name);
    [[nodiscard]] std::int64_t whole(const std::string& name, std::int64_t least,
                                     std::int64_t most = std::numeric_limits<std::int64_t>::max());
    [[nodiscard]] std::vector<std::int64_t> wholes(const std::string& name, std::int64_t least,
                                                   std::int64_t most);
    [[nodiscard]] double number(const std::string& name, double least, double most);

    /// Refuses `name` where it is there and is not `wanted`.
    void only(const std::string& name, const Json& wanted);

    /// Refuses whatever was not read.
    void close() const;

    /// Refuses the field `name` because of `why`.
    [[noreturn]] void refuse(const std::string& name, const std::string& why) const;

 private:
    const Json& field(const std::string& name);
    [[nodiscard]] std::int64_t whole_of(const Json& value, const std::string& name, std::int64_t least,
                                        std::int64_t most) const;

    const Json& object_;
    std::string file_;
    std::string place_;
    std::set<std::string> read_;
};

/// `text` of a file in one line of a message: no control characters, and not all of what is long.
[[nodiscard]] std::string shown(std::string text);

/// How many characters a UTF-8 text has.
[[nodiscard]] std::size_t length_of(std::string_view text);

/// Whether the two readers would call them the same: in Python true is 1 and 1.0 is 1.
[[nodiscard]] bool equal_as_in_python(const Json& value, const Json& wanted);

}  // namespace vreid

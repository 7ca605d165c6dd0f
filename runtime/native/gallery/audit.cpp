// The audit's rows (runtime/gallery/sqlite/store.py). Python reads their detail to undo a change: JSON, ASCII
// only.
#include "audit.hpp"

#include <pwd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <utility>
#include <vector>

#include "text.hpp"

namespace vreid::gallery {
namespace {

std::string json_text(const Detail& detail) {
    return detail.dump(-1, ' ', true,
                       Detail::error_handler_t::replace);  // a name was checked; this must not throw
}

}  // namespace

double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string login() {
    for (const char* name : {"LOGNAME", "USER", "LNAME", "USERNAME"}) {
        const char* said = std::getenv(name);
        if (said != nullptr && *said != '\0') return said;
    }
    passwd entry{};
    passwd* found = nullptr;
    std::array<char, 4096> room{};
    if (::getpwuid_r(::getuid(), &entry, room.data(), room.size(), &found) != 0 || found == nullptr)
        return "unknown";
    return found->pw_name;
}

void note(const Database& database, const std::string& who, const char* verb, std::int64_t vehicle,
          const Detail& detail) {
    database.run("INSERT INTO audit (at, who, verb, vehicle, detail) VALUES (?, ?, ?, ?, ?)",
                 {now(), who, std::string(verb), vehicle, json_text(detail)});
}

void forget(const Database& database, std::int64_t vehicle) {
    std::vector<std::pair<std::int64_t, std::string>> changed;
    {
        Statement rows = database.query(
            "SELECT id, detail FROM audit WHERE vehicle = ?1 OR EXISTS (SELECT 1 FROM json_each(detail, "
            "'$.vehicles')"
            " WHERE value = ?1) ORDER BY id",
            {vehicle});
        while (rows.next()) changed.emplace_back(rows.integer(0), rows.text(1));
    }
    for (const auto& [id, text] : changed) {
        const Detail detail = Detail::parse(text, nullptr, false);
        if (!detail.is_object()) throw damaged(database.path(), "a change of the audit");
        const Detail bare = {{"vehicles", detail.value("vehicles", Detail::array())}, {"forgotten", true}};
        database.run("UPDATE audit SET detail = ? WHERE id = ?", {json_text(bare), id});
    }
}

}  // namespace vreid::gallery

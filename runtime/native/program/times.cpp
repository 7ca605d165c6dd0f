#include "times.hpp"

#include <chrono>
#include <ctime>
#include <map>
#include <optional>
#include <regex>

#include "vreid/errors.hpp"

namespace vreid::program {
namespace {

/// An ISO time in seconds; nothing for what is not one, such as the 30th of February.
std::optional<double> iso_seconds(const std::string& text) {
    static const std::regex iso(
        R"(\s*(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(\.\d{1,6})?)?([zZ]|[+-]\d\d:\d\d)?)?\s*)");
    std::smatch found;
    if (!std::regex_match(text, found, iso)) return std::nullopt;
    const auto number = [&found](std::size_t group) {
        return found[group].matched ? std::stoi(found[group]) : 0;
    };
    std::tm parsed{};
    parsed.tm_year = number(1) - 1900;
    parsed.tm_mon = number(2) - 1;
    parsed.tm_mday = number(3);
    parsed.tm_hour = number(4);
    parsed.tm_min = number(5);
    parsed.tm_sec = number(6);
    parsed.tm_isdst = -1;
    const std::string zone = found[8];
    std::tm taken = parsed;
    const std::time_t seconds = zone.empty() ? std::mktime(&taken) : ::timegm(&taken);
    if (taken.tm_mday != parsed.tm_mday || taken.tm_mon != parsed.tm_mon || number(4) > 23 ||
        number(5) > 59 || number(6) > 59) {
        return std::nullopt;
    }
    int east = 0;
    if (zone.size() > 1) {
        east = (zone[0] == '-' ? -60 : 60) * (60 * std::stoi(zone.substr(1, 2)) + std::stoi(zone.substr(4)));
    }
    return static_cast<double>(seconds - east) + (found[7].matched ? std::stod(found[7]) : 0.0);
}

}  // namespace

double moment_of(const std::string& text) {
    static const std::regex ago(R"(\s*([\d.]+)([smhdwSMHDW])\s*)");
    static const std::regex amount(R"(\d{1,9}(\.\d{1,9})?)");
    std::smatch found;
    if (std::regex_match(text, found, ago)) {
        const std::string count = found[1];
        if (!std::regex_match(count, amount) || std::stod(count) == 0) {
            throw Refused("'" + text + "' is not a span of time; write it like 30d, 12h or 2w");
        }
        static const std::map<int, double> units{
            {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}};
        const auto now =
            std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
        return now - units.at(std::tolower(found.str(2).front())) * std::stod(count);
    }
    if (const auto seconds = iso_seconds(text)) return *seconds;
    throw Refused("'" + text +
                  "' is not a time; write it like 2026-11-22T08:15, 2026-11-22, or 2h for two hours ago");
}

}  // namespace vreid::program

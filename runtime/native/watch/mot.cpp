// The reader of MOT text.
#include "mot.hpp"

#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "numbers.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

constexpr double kLargestId = std::numeric_limits<std::int32_t>::max();
constexpr std::string_view kMark = "\xEF\xBB\xBF";  // of UTF-8

std::vector<std::string> fields_of(std::string_view line) {
    std::vector<std::string> fields;
    while (true) {
        const std::size_t comma = line.find(',');
        fields.emplace_back(stripped(line.substr(0, comma)));
        if (comma == std::string_view::npos) return fields;
        line.remove_prefix(comma + 1);
    }
}

bool is_whole(double value, double least) {
    return value >= least && value <= kLargestId && value == std::floor(value);
}

/// One line; Refused says what is wrong with it.
MotRow row_of(std::string_view line) {
    const std::vector<std::string> fields = fields_of(line);
    if (fields.size() < 6) {
        throw Refused("it has " + std::to_string(fields.size()) + " fields and needs frame,id,x,y,w,h");
    }
    std::array<double, 9> values{0, 0, 0, 0, 0, 0, 1, -1, 1};
    for (std::size_t i = 0; i < std::min<std::size_t>(fields.size(), 9); ++i) {
        const auto value = number_of(fields[i]);
        if (!value) throw Refused("could not convert string to float: '" + fields[i] + "'");
        values[i] = *value;
    }
    for (double value : values) {
        if (!std::isfinite(value)) throw Refused("it holds a number that is not finite");
    }
    const auto [frame, id, x, y, w, h, score, kind, visibility] = values;
    if (!is_whole(frame, 1)) throw Refused("frame " + fields[0] + " is not a whole number from 1");
    if (!is_whole(id, -1)) {
        throw Refused("id " + fields[1] + " is not a whole number from 0 to 2147483647, nor -1 for none");
    }
    if (w <= 0 || h <= 0) throw Refused("its width or height is not above 0");
    if (!is_whole(kind, -kLargestId)) throw Refused("class " + fields[7] + " is not a whole number");
    // Result files of MOTChallenge end in -1,-1,-1,-1: no score is given, and a negative visibility is an
    // unknown one.
    const auto real = [](double value) { return static_cast<float>(value); };
    return {static_cast<std::int64_t>(frame),
            static_cast<std::int64_t>(id),
            static_cast<int>(kind),
            real(x),
            real(y),
            real(w),
            real(h),
            score == -1 ? 1.0F : real(score),
            visibility < 0 ? 1.0F : real(visibility)};
}

}  // namespace

std::vector<MotRow> read_mot(const std::filesystem::path& path) {
    if (!std::filesystem::is_regular_file(path)) {
        throw Refused("there is no MOT file " + path.string() +
                      "; give a text file with lines of frame,id,x,y,w,h");
    }
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        throw Refused(path.string() + " cannot be read as MOT text; give lines of frame,id,x,y,w,h");
    }
    std::vector<MotRow> rows;
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        std::string_view text = line;
        if (number == 1 && text.substr(0, kMark.size()) == kMark) text.remove_prefix(kMark.size());
        if (stripped(text).empty()) continue;
        try {
            rows.push_back(row_of(text));
        } catch (const Refused& wrong) {
            throw Refused(path.string() + ", line " + std::to_string(number) + ": " + wrong.what() +
                          "; correct the line");
        }
    }
    return rows;
}

}  // namespace vreid::watch

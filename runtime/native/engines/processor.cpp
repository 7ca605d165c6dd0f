// As runtime/engines/processor.py has it.
#include "processor.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <sstream>
#include <string>

namespace vreid {

bool has_vnni(const std::filesystem::path& cpuinfo) {
    constexpr std::array wanted{"avx512_vnni", "avx_vnni", "asimddp"};
    std::ifstream file(cpuinfo);
    for (std::string line; std::getline(file, line);) {
        std::transform(line.begin(), line.end(), line.begin(),
                       [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
        if (line.rfind("flags", 0) != 0 && line.rfind("features", 0) != 0) continue;
        std::istringstream words(line);
        for (std::string word; words >> word;) {
            if (std::find(wanted.begin(), wanted.end(), word) != wanted.end()) return true;
        }
        return false;
    }
    return false;
}

}  // namespace vreid

// Reads files in blocks.
#include "bytes.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr std::size_t BLOCK = 1 << 20;

}  // namespace

std::optional<std::string> bytes_of(const std::filesystem::path& path, std::string& why) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::string bytes;
    std::size_t count = 0;
    while (file) {
        bytes.resize(count + BLOCK);
        file.read(bytes.data() + count, static_cast<std::streamsize>(BLOCK));
        count += static_cast<std::size_t>(file.gcount());
    }
    if (!file.eof()) {
        why = errno == 0 ? "it cannot be read" : std::strerror(errno);
        return std::nullopt;
    }
    bytes.resize(count);
    return bytes;
}

std::string read_bytes(const std::filesystem::path& path) {
    std::string why;
    std::optional<std::string> bytes = bytes_of(path, why);
    if (!bytes)
        throw Refused("cannot read " + path.string() + " (" + why + "); check the path and its permissions");
    return *std::move(bytes);
}

}  // namespace vreid

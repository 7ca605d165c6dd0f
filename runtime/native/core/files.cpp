// Reads files in blocks, and hashes by OpenSSL's libcrypto.
#include "files.hpp"

#include <openssl/evp.h>

#include <array>
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

std::string sha256_of(std::string_view bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned int count = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &count, EVP_sha256(), nullptr) != 1)
        throw Refused("this OpenSSL has no SHA-256; install one that has");
    std::string text;
    for (unsigned int place = 0; place < count; ++place)
        text += {digits[hash[place] >> 4], digits[hash[place] & 15]};
    return text;
}

}  // namespace vreid

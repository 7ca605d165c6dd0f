// Reads files in blocks, and hashes by OpenSSL's libcrypto.
#include "files.hpp"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "vreid/errors.hpp"
#include "vreid/hash.hpp"

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

namespace {

constexpr std::size_t BLOCK = 1 << 20;

/// One running hash.
class Digest {
 public:
    Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
            throw Refused("this OpenSSL has no SHA-256; install one that has");
        }
    }

    void add(const char* bytes, std::size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }

    std::string hex() {
        constexpr char digits[] = "0123456789abcdef";
        std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
        unsigned int count = 0;
        EVP_DigestFinal_ex(context_.get(), bytes.data(), &count);
        std::string text;
        for (unsigned int place = 0; place < count; ++place) {
            text += digits[bytes[place] >> 4];
            text += digits[bytes[place] & 15];
        }
        return text;
    }

 private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    Digest digest;
    std::vector<char> block(BLOCK);
    while (file) {
        file.read(block.data(), static_cast<std::streamsize>(block.size()));
        digest.add(block.data(), static_cast<std::size_t>(file.gcount()));
    }
    if (!file.eof()) throw Refused("cannot read " + path.string() + "; check the path and its permissions");
    return digest.hex();
}

std::string sha256_of_bytes(std::string_view bytes) {
    Digest digest;
    digest.add(bytes.data(), bytes.size());
    return digest.hex();
}

}  // namespace vreid

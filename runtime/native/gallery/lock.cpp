// Taking the writer's lock and giving it back (runtime/gallery/sqlite/database.py, `lock`).
#include "lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>

#include "schema.hpp"
#include "text.hpp"

namespace vreid::gallery {
namespace {

Refused unwritable(const std::filesystem::path& lock, int error) {
    return Refused(lock.string() + " cannot be written (" + std::generic_category().message(error) +
                   "); name a gallery in a folder you may write");
}

bool is_at(int handle, const std::filesystem::path& path) {
    struct stat open{};
    struct stat there{};
    return ::fstat(handle, &open) == 0 && ::stat(path.c_str(), &there) == 0 && open.st_dev == there.st_dev &&
           open.st_ino == there.st_ino;
}

std::string holder_of(int handle) {
    std::array<char, 32> text{};
    const ssize_t size = ::pread(handle, text.data(), text.size(), 0);
    return size > 0 ? cleaned({text.data(), static_cast<std::size_t>(size)}) : "unknown";
}

void sign(int handle, const std::filesystem::path& lock) {
    const std::string number = std::to_string(::getpid());
    if (::ftruncate(handle, 0) != 0 || ::pwrite(handle, number.data(), number.size(), 0) < 0) {
        const int error = errno;
        ::close(handle);
        throw unwritable(lock, error);
    }
}

}  // namespace

WriterLock::WriterLock(const std::filesystem::path& gallery) : path_(with_suffix(gallery, ".lock")) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
    while (true) {
        const int handle = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (handle < 0) throw unwritable(path_, errno);
        if (::flock(handle, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            const std::string holder = holder_of(handle);
            ::close(handle);
            if (error != EWOULDBLOCK && error != EINTR) throw unwritable(path_, error);
            if (std::chrono::steady_clock::now() > end) {
                throw Refused("the gallery " + gallery.string() + " is being written by process " + holder +
                              "; stop it or use another gallery");
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            continue;
        }
        // The last writer removes the file as it goes; a lock on a removed file would guard nothing.
        if (is_at(handle, path_)) {
            sign(handle, path_);
            handle_ = handle;
            owner_ = ::getpid();
            return;
        }
        ::close(handle);
    }
}

WriterLock::~WriterLock() {
    if (::getpid() == owner_) ::unlink(path_.c_str());
    ::close(handle_);  // of a forked child: the parent's own handle goes on holding the lock
}

}  // namespace vreid::gallery

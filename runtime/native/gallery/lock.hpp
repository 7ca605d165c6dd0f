// The one writer's lock, PATH.lock: the same file and the same flock as Python's, so that each shuts the
// other out.
#pragma once

#include <filesystem>

namespace vreid::gallery {

/// Holds the lock for as long as it lives; the kernel lets go of it when the process dies, however it dies.
/// Only the process that took it removes the file: a forked child that lets go of its copy changes nothing.
class WriterLock {
 public:
    /// Waits half a second at most. Refused, by the writer's number, when another process or gallery has it.
    explicit WriterLock(const std::filesystem::path& gallery);
    WriterLock(const WriterLock&) = delete;
    WriterLock& operator=(const WriterLock&) = delete;
    ~WriterLock();

 private:
    std::filesystem::path path_;
    int handle_ = -1;
    int owner_ = 0;
};

}  // namespace vreid::gallery

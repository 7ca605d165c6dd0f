// One thread inside a search, which leaves the other cores to the networks.
#pragma once

#include <optional>

namespace vreid::gallery {

/// OpenBLAS's own threads, which OpenMP does not rule in Debian's libopenblas0-pthread: one for as long as
/// any search of this process runs, then as many as before. Does nothing where another BLAS is loaded.
class OneBlasThread {
 public:
    OneBlasThread();
    OneBlasThread(const OneBlasThread&) = delete;
    OneBlasThread& operator=(const OneBlasThread&) = delete;
    ~OneBlasThread();
};

/// One thread of OpenMP for the calling thread, and one of OpenBLAS.
class OneThread {
 public:
    OneThread();
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;
    ~OneThread();

 private:
    int before_;
    std::optional<OneBlasThread> blas_;
};

}  // namespace vreid::gallery

// Sets and restores how many threads OpenMP and OpenBLAS use.
#include "one_thread.hpp"

#include <dlfcn.h>
#include <omp.h>

#include <mutex>

namespace vreid::gallery {
namespace {

/// OpenBLAS's two functions, by name: this is linked against whatever BLAS the system chose.
struct OpenBlas {
    void (*set)(int) = reinterpret_cast<void (*)(int)>(::dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
    int (*get)() = reinterpret_cast<int (*)()>(::dlsym(RTLD_DEFAULT, "openblas_get_num_threads"));
};

/// How many searches run, and how many threads there were before the first.
struct Searches {
    OpenBlas blas;
    std::mutex lock;
    int running = 0;
    int before = 1;
};

Searches& searches() {
    static Searches one;
    return one;
}

}  // namespace

OneBlasThread::OneBlasThread() {
    Searches& all = searches();
    if (all.blas.set == nullptr || all.blas.get == nullptr) return;
    const std::lock_guard<std::mutex> held(all.lock);
    if (all.running++ > 0) return;
    all.before = all.blas.get();
    if (all.before != 1) all.blas.set(1);
}

OneBlasThread::~OneBlasThread() {
    Searches& all = searches();
    if (all.blas.set == nullptr || all.blas.get == nullptr) return;
    const std::lock_guard<std::mutex> held(all.lock);
    if (--all.running == 0 && all.before != 1) all.blas.set(all.before);
}

OneThread::OneThread() : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
    blas_.emplace();
}

OneThread::~OneThread() {
    blas_.reset();  // first: in OpenBLAS's OpenMP build its number is OpenMP's too
    omp_set_num_threads(before_);
}

}  // namespace vreid::gallery

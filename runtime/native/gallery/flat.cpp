// Searching for vehicles through rows of prototypes (runtime/gallery/index/flat.py and vehicle_index.py).
#include "flat.hpp"

#include <dlfcn.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/utils/distances.h>
#include <omp.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <unordered_set>

namespace vreid::gallery {
namespace {

constexpr std::int64_t kFirst =
    8;  // prototypes that a vehicle mostly has at most: one more than k - 1 have is of a k-th
constexpr std::int64_t kWider = 4;  // how many times as many are searched when that was too few

/// Batches of more than four features go through BLAS: of 8, FAISS by itself takes six times as long. Once a
/// process: FAISS reads it without a lock.
void batch_by_blas(int dim) {
#if FAISS_VERSION_MAJOR == 1 && FAISS_VERSION_MINOR < 15
    constexpr bool kTimesDim = false;
#else
    constexpr bool kTimesDim = true;  // newer ones compare batch x dim with it
#endif
    static std::once_flag once;
    std::call_once(once, [dim] { faiss::distance_compute_blas_threshold = kTimesDim ? 4 * dim : 5; });
}

}  // namespace

FlatIndex::FlatIndex(int dim, std::size_t expected) : dim_(static_cast<std::size_t>(dim)), index_(dim) {
    batch_by_blas(dim);
    index_.codes.reserve(expected * index_.code_size);
    ids_.reserve(expected);
    owners_.reserve(expected);
    row_of_.reserve(expected);
}

void FlatIndex::add(const Ids& prototypes, const Ids& vehicles, const std::vector<float>& features) {
    for (std::size_t at = 0; at < prototypes.size(); ++at) {
        const float* feature = features.data() + at * dim_;
        const auto [place, is_new] = row_of_.try_emplace(prototypes[at], ids_.size());
        if (is_new) {
            index_.add(1, feature);
            ids_.push_back(prototypes[at]);
            owners_.push_back(vehicles[at]);
        } else {
            std::copy(feature, feature + dim_, index_.get_xb() + place->second * dim_);
            owners_[place->second] = vehicles[at];
        }
    }
}

void FlatIndex::remove(const Ids& prototypes) {
    std::vector<std::size_t> holes;
    for (const std::int64_t prototype : prototypes) {
        const auto place = row_of_.find(prototype);
        if (place == row_of_.end()) continue;
        holes.push_back(place->second);
        row_of_.erase(place);
    }
    if (holes.empty()) return;
    std::sort(holes.begin(), holes.end());
    const std::size_t left = ids_.size() - holes.size();
    const auto inside = std::lower_bound(holes.begin(), holes.end(), left);
    float* memory = index_.get_xb();
    std::size_t last = left;
    auto gone = inside;  // of the rows behind `left`, those that are holes too
    for (auto hole = holes.begin(); hole != inside; ++hole, ++last) {
        for (; gone != holes.end() && *gone == last; ++gone) ++last;
        std::copy(memory + last * dim_, memory + (last + 1) * dim_, memory + *hole * dim_);
        ids_[*hole] = ids_[last];
        owners_[*hole] = owners_[last];
        row_of_[ids_[last]] = *hole;
    }
    ids_.resize(left);
    owners_.resize(left);
    index_.codes.resize(left * index_.code_size);
    index_.ntotal = static_cast<std::int64_t>(left);
}

std::vector<std::vector<Found>> FlatIndex::search(const std::vector<float>& features, std::int64_t k,
                                                  const std::optional<Ids>& vehicles) const {
    const std::size_t count = features.size() / dim_;
    std::vector<std::vector<Found>> found(count);
    std::int64_t most = index_.ntotal;
    faiss::SearchParameters among;
    const std::vector<std::uint8_t> bits = vehicles ? rows_of(*vehicles, most) : std::vector<std::uint8_t>();
    faiss::IDSelectorBitmap chosen(bits.size(), bits.data());
    among.sel = &chosen;
    if (most == 0) return found;
    const OneThread one_thread;
    std::vector<std::size_t> open(count);
    for (std::size_t row = 0; row < count; ++row) open[row] = row;
    // The first k different vehicles in the falling list of prototypes are the best; it is lengthened until
    // they are in.
    for (std::int64_t reach = k - 1 > most / kFirst ? most : std::min(most, kFirst * (k - 1) + 1);
         !open.empty(); reach = std::min(most, reach * kWider)) {
        std::vector<float> wanted;
        wanted.reserve(open.size() * dim_);
        for (const std::size_t row : open) {
            const auto begin = features.begin() + static_cast<std::ptrdiff_t>(row * dim_);
            wanted.insert(wanted.end(), begin, begin + static_cast<std::ptrdiff_t>(dim_));
        }
        const std::size_t wide = static_cast<std::size_t>(reach);
        std::vector<float> scores(open.size() * wide);
        std::vector<std::int64_t> rows(open.size() * wide);
        index_.search(static_cast<std::int64_t>(open.size()), wanted.data(), reach, scores.data(),
                      rows.data(), vehicles ? &among : nullptr);
        std::vector<std::size_t> left;
        for (std::size_t at = 0; at < open.size(); ++at) {
            found[open[at]] = best(scores.data() + at * wide, rows.data() + at * wide, reach, k);
            const bool ended = rows[(at + 1) * wide - 1] < 0 || reach == most;
            if (!ended && static_cast<std::int64_t>(found[open[at]].size()) < k) left.push_back(open[at]);
        }
        open = std::move(left);
    }
    return found;
}

/// FAISS's bitmap of the rows of `vehicles`, and how many they are.
std::vector<std::uint8_t> FlatIndex::rows_of(const Ids& vehicles, std::int64_t& count) const {
    const std::unordered_set<std::int64_t> wanted(vehicles.begin(), vehicles.end());
    std::vector<std::uint8_t> bits((owners_.size() + 7) / 8);
    count = 0;
    for (std::size_t row = 0; row < owners_.size(); ++row) {
        if (wanted.count(owners_[row]) == 0) continue;
        bits[row / 8] = static_cast<std::uint8_t>(bits[row / 8] | (1U << (row % 8)));
        ++count;
    }
    return bits;
}

std::vector<Found> FlatIndex::best(const float* scores, const std::int64_t* rows, std::int64_t reach,
                                   std::int64_t k) const {
    std::unordered_map<std::int64_t, float> best_of;
    for (std::int64_t at = 0; at < reach; ++at) {
        if (rows[at] < 0 || !(scores[at] > -std::numeric_limits<float>::infinity())) continue;
        const auto [place, is_new] =
            best_of.try_emplace(owners_[static_cast<std::size_t>(rows[at])], scores[at]);
        if (!is_new && scores[at] > place->second) place->second = scores[at];
    }
    std::vector<Found> found(best_of.begin(), best_of.end());
    std::sort(found.begin(), found.end(), [](const Found& one, const Found& other) {
        return one.second != other.second ? one.second > other.second : one.first < other.first;
    });
    if (static_cast<std::int64_t>(found.size()) > k) found.resize(static_cast<std::size_t>(k));
    return found;
}

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

OneThread::OneThread() : before_(omp_get_max_threads()) {
    omp_set_num_threads(1);
    Searches& all = searches();
    if (all.blas.set == nullptr || all.blas.get == nullptr) return;
    const std::lock_guard<std::mutex> held(all.lock);
    if (all.running++ > 0) return;
    all.before = all.blas.get();
    if (all.before != 1) all.blas.set(1);
}

OneThread::~OneThread() {
    Searches& all = searches();
    if (all.blas.set != nullptr && all.blas.get != nullptr) {
        const std::lock_guard<std::mutex> held(all.lock);
        if (--all.running == 0 && all.before != 1) all.blas.set(all.before);
    }
    omp_set_num_threads(before_);  // last: in OpenBLAS's OpenMP build its number is OpenMP's too
}

}  // namespace vreid::gallery

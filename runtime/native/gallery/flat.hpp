// The exact index: every prototype compared by FAISS, a vehicle's score the best cosine of its prototypes.
#pragma once

#include <faiss/IndexFlat.h>

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace vreid::gallery {

using Ids = std::vector<std::int64_t>;
using Found = std::pair<std::int64_t, float>;  // a vehicle and its score

/// Prototypes by vehicle in a FAISS IndexFlatIP. A new feature is written over the old one and the last row
/// fills a removed one's place, as in runtime/gallery/index/flat.py: rows lie as Python's do, so that equal
/// scores come in its order.
class FlatIndex {
 public:
    FlatIndex(int dim, std::size_t expected);

    /// Features (n, dim) of unit length; a prototype that is there already gets the new feature and vehicle.
    void add(const Ids& prototypes, const Ids& vehicles, const std::vector<float>& features);

    /// Forget prototypes, each named once; those that are not here are passed over.
    void remove(const Ids& prototypes);

    /// Unit features (n, dim) -> for each the best k of `vehicles` (none: all), falling; of equals the older
    /// first.
    [[nodiscard]] std::vector<std::vector<Found>> search(const std::vector<float>& features, std::int64_t k,
                                                         const std::optional<Ids>& vehicles) const;

 private:
    [[nodiscard]] std::vector<std::uint8_t> rows_of(const Ids& vehicles, std::int64_t& count) const;
    [[nodiscard]] std::vector<Found> best(const float* scores, const std::int64_t* rows, std::int64_t reach,
                                          std::int64_t k) const;

    std::size_t dim_;
    faiss::IndexFlatIP index_;
    Ids ids_;     // of each row
    Ids owners_;  // its vehicle
    std::unordered_map<std::int64_t, std::size_t> row_of_;
};

/// One thread of OpenMP for the calling thread, and one of OpenBLAS, whose own threads OpenMP does not rule
/// in Debian's libopenblas0-pthread: for as long as any search of this process runs, then as many as before.
/// Another BLAS than OpenBLAS keeps its threads.
class OneThread {
 public:
    OneThread();
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;
    ~OneThread();

 private:
    int before_;
};

}  // namespace vreid::gallery

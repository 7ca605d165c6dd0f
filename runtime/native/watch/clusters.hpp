// Which tracks are one vehicle's: average-linkage clustering under the rule that some pairs cannot be.
#pragma once

#include <cstddef>
#include <vector>

namespace vreid::watch {

using Rows = std::vector<std::size_t>;

/// A square of numbers, row by row.
template <typename Number>
struct Square {
    explicit Square(std::size_t n, Number value = {}) : size(n), cells(n * n, value) {}

    Number& at(std::size_t row, std::size_t column) { return cells[row * size + column]; }
    [[nodiscard]] const Number& at(std::size_t row, std::size_t column) const {
        return cells[row * size + column];
    }

    std::size_t size;
    std::vector<Number> cells;
};

/// Unit features (N, dim), `apart` of pairs that are never one vehicle -> clusters of row numbers, each
/// rising, ordered by their first row. Agglomerative, average linkage (Sokal and Michener 1958) of cosines:
/// the two clusters of the highest average cosine between their members are joined while it reaches
/// `threshold`, of equals the first rows; clusters that hold a pair set apart are never joined. Mirrors
/// runtime/clusters.py.
std::vector<Rows> clustered(const std::vector<float>& features, std::size_t dim, Square<char> apart,
                            double threshold);

}  // namespace vreid::watch

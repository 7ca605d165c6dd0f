// The rectangular assignment by shortest augmenting paths: Crouse, On Implementing 2D Rectangular Assignment
// Algorithms, IEEE Transactions on Aerospace and Electronic Systems 52(4), 2016, section III. Of solutions
// that are equally good the same one is found as by SciPy's linear_sum_assignment, which follows that paper
// too: the free column is preferred, and columns are tried from the last to the first.
#include "assignment.hpp"

#include <cstddef>
#include <limits>
#include <utility>

namespace vreid::watch {
namespace {

using Places = std::vector<int>;
constexpr double kFar = std::numeric_limits<double>::infinity();

std::size_t at(int place) { return static_cast<std::size_t>(place); }

// Rows are added one at a time; `u` and `v` are the dual prices that keep all reduced costs of the pairs at
// 0.
class Solver {
 public:
    Solver(std::vector<double> cost, int rows, int columns)
        : cost_(std::move(cost)),
          columns_(columns),
          u_(at(rows)),
          v_(at(columns)),
          column_of_(at(rows), -1),
          row_of_(at(columns), -1) {}

    Places solved() {
        for (int row = 0; row < static_cast<int>(u_.size()); ++row) add(row);
        return column_of_;
    }

 private:
    void add(int row) {
        std::vector<double> shortest(v_.size(), kFar);
        Places before(v_.size(), -1), scanned, left;
        for (int column = columns_ - 1; column >= 0; --column) left.push_back(column);
        double reached = 0;
        int sink = -1;
        Places rows_seen;
        for (int from = row; sink < 0;) {
            rows_seen.push_back(from);
            const std::size_t best = nearest(from, reached, left, shortest, before);
            const int column = left[best];
            reached = shortest[at(column)];
            scanned.push_back(column);
            left[best] = left.back();
            left.pop_back();
            if (row_of_[at(column)] < 0) {
                sink = column;
            } else {
                from = row_of_[at(column)];
            }
        }
        u_[at(row)] += reached;
        for (int seen : rows_seen) {
            if (seen != row) u_[at(seen)] += reached - shortest[at(column_of_[at(seen)])];
        }
        for (int column : scanned) v_[at(column)] -= reached - shortest[at(column)];
        for (int column = sink, from = -1; from != row;) {  // swap the pairs along the path
            from = before[at(column)];
            row_of_[at(column)] = from;
            std::swap(column_of_[at(from)], column);
        }
    }

    // Paths through `from`, which is `reached` away, are taken where they are shorter; the place in `left` of
    // the nearest.
    std::size_t nearest(int from, double reached, const Places& left, std::vector<double>& shortest,
                        Places& before) const {
        std::size_t best = 0;
        double lowest = kFar;
        for (std::size_t place = 0; place < left.size(); ++place) {
            const std::size_t column = at(left[place]);
            const double way = reached + cost_[at(from) * v_.size() + column] - u_[at(from)] - v_[column];
            if (way < shortest[column]) {
                shortest[column] = way;
                before[column] = from;
            }
            if (shortest[column] < lowest || (shortest[column] == lowest && row_of_[column] < 0)) {
                lowest = shortest[column];
                best = place;
            }
        }
        return best;
    }

    std::vector<double> cost_;
    int columns_;
    std::vector<double> u_, v_;
    Places column_of_, row_of_;
};

}  // namespace

std::vector<int> assigned(const std::vector<double>& gain, int rows, int columns) {
    const bool turned = columns < rows;  // the method wants a column for every row
    std::vector<double> cost(gain.size());
    for (int row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) {
            const std::size_t place =
                turned ? at(column) * at(rows) + at(row) : at(row) * at(columns) + at(column);
            cost[place] = -gain[at(row) * at(columns) + at(column)];
        }
    }
    const Places found = turned ? Solver(std::move(cost), columns, rows).solved()
                                : Solver(std::move(cost), rows, columns).solved();
    if (!turned) return found;
    Places column_of(at(rows), -1);
    for (int column = 0; column < columns; ++column) column_of[at(found[at(column)])] = column;
    return column_of;
}

}  // namespace vreid::watch

// The clustering.
#include "clusters.hpp"

#include <algorithm>
#include <limits>

namespace vreid::watch {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

/// The state of the clustering; a joined row lives on in the first of the two.
class Linkage {
 public:
    Linkage(const std::vector<float>& features, std::size_t dim, Square<char> apart)
        : count_(apart.size),
          barred_(std::move(apart)),
          sums_(count_),
          average_(count_, kNever),
          sizes_(count_, 1.0) {
        for (std::size_t row = 0; row < count_; ++row) {
            members_.push_back({row});
            barred_.at(row, row) = 1;
            for (std::size_t other = 0; other <= row; ++other) {
                double sum = 0;
                for (std::size_t i = 0; i < dim; ++i) {
                    sum += static_cast<double>(features[row * dim + i]) *
                           static_cast<double>(features[other * dim + i]);
                }
                sums_.at(row, other) = sums_.at(other, row) = sum;
            }
        }
        for (std::size_t row = 0; row < count_; ++row) {
            for (std::size_t other = 0; other < count_; ++other) {
                if (barred_.at(row, other) == 0) average_.at(row, other) = sums_.at(row, other);
            }
        }
        for (std::size_t row = 0; row < count_; ++row) partner_.push_back(nearest(row));
    }

    std::vector<Rows> joined(double threshold) {
        while (count_ > 0) {
            std::size_t one = 0;
            for (std::size_t row = 1; row < count_; ++row) {
                if (height(row) > height(one)) one = row;
            }
            if (!(height(one) >= threshold)) break;
            join(std::min(one, partner_[one]), std::max(one, partner_[one]));
        }
        std::vector<Rows> clusters;
        for (Rows& rows : members_) {
            std::sort(rows.begin(), rows.end());
            if (!rows.empty()) clusters.push_back(rows);
        }
        return clusters;
    }

 private:
    double height(std::size_t row) const { return average_.at(row, partner_[row]); }

    std::size_t nearest(std::size_t row) const {
        const auto first = average_.cells.begin() + static_cast<std::ptrdiff_t>(row * count_);
        return static_cast<std::size_t>(std::max_element(first, first + static_cast<std::ptrdiff_t>(count_)) -
                                        first);
    }

    void join(std::size_t keep, std::size_t gone) {
        members_[keep].insert(members_[keep].end(), members_[gone].begin(), members_[gone].end());
        members_[gone].clear();
        sizes_[keep] += sizes_[gone];
        for (std::size_t other = 0; other < count_; ++other) {
            sums_.at(keep, other) += sums_.at(gone, other);
            barred_.at(keep, other) = static_cast<char>(barred_.at(keep, other) | barred_.at(gone, other));
        }
        for (std::size_t other = 0; other < count_; ++other) {
            sums_.at(other, keep) = sums_.at(keep, other);
            barred_.at(other, keep) = barred_.at(keep, other);
            barred_.at(gone, other) = barred_.at(other, gone) = 1;
        }
        for (std::size_t other = 0; other < count_; ++other) {
            const bool never = barred_.at(keep, other) != 0;
            average_.at(keep, other) =
                never ? kNever : sums_.at(keep, other) / (sizes_[keep] * sizes_[other]);
            average_.at(other, keep) = average_.at(keep, other);
        }
        for (std::size_t other = 0; other < count_; ++other) {
            average_.at(gone, other) = average_.at(other, gone) = kNever;
        }
        // An average lies between the two that it joins, so only rows that pointed at the pair can have
        // another partner.
        for (std::size_t row = 0; row < count_; ++row) {
            if (row == keep || row == gone || partner_[row] == keep || partner_[row] == gone)
                partner_[row] = nearest(row);
        }
    }

    std::size_t count_;
    Square<char> barred_;
    Square<double> sums_;  // of the cosines between two clusters' members
    Square<double> average_;
    std::vector<double> sizes_;
    std::vector<Rows> members_;
    std::vector<std::size_t> partner_;  // of each row, the nearest
};

}  // namespace

std::vector<Rows> clustered(const std::vector<float>& features, std::size_t dim, Square<char> apart,
                            double threshold) {
    return Linkage(features, dim, std::move(apart)).joined(threshold);
}

}  // namespace vreid::watch

// Which track has which detection: pairs of the largest sum.
#pragma once

#include <vector>

namespace vreid::watch {

/// `gain` holds rows x columns finite numbers, row by row -> for each row its column or -1; as many pairs as
/// the smaller side has, their gains the largest sum there is.
std::vector<int> assigned(const std::vector<double>& gain, int rows, int columns);

}  // namespace vreid::watch

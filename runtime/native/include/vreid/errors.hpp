// The one error a caller may see: a request that cannot be met, and what to do about it.
#pragma once

#include <stdexcept>

#include "vreid/export.hpp"

namespace vreid {

/// The request was wrong; what() is one sentence that says the fix. The program exits with 2.
class VREID_API Refused : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

}  // namespace vreid

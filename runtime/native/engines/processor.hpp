// What INT8 engines need to know of this processor.
#pragma once

#include <filesystem>

namespace vreid {

/// Whether this processor sums int8 products in 32 bits (x86 VNNI, or ARM's dot product); false where nothing
/// says so.
bool has_vnni(const std::filesystem::path& cpuinfo = "/proc/cpuinfo");

}  // namespace vreid

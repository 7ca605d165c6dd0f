// Times as people write them on a command line, in seconds since 1970; as cli/gallery_reading.py takes
// them.
#pragma once

#include <string>

namespace vreid::program {

/// 2026-11-22[T08:00[:30[.5]]][+01:00], local where it has no zone, or a span before now: 30d, 12h, 2w.
/// Throws Refused for what is neither.
double moment_of(const std::string& text);

}  // namespace vreid::program

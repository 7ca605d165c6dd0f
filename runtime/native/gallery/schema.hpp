// The gallery's file: what is in it, who may open it, how one begins (runtime/gallery/sqlite/database.py,
// schema.py).
#pragma once

#include <filesystem>

#include "database.hpp"
#include "vreid/gallery.hpp"

namespace vreid::gallery {

/// What the database declares that it is; `old` lets one pass that can be upgraded. Refused for another
/// application's file, another schema, or a damaged one.
About about_of(const Database& database, bool old = false);

/// Make an empty gallery at `path`, complete or not at all; the caller holds the lock.
void create(const std::filesystem::path& path, const About& about);

/// Upgrade an open gallery of schema 1, 2 or 3, in one transaction; the caller holds the lock. Of vehicles whose
/// names are equal but for case the one with the lowest id keeps it, the others get a number, and the audit
/// says so.
void upgrade(const Database& database);

/// Give what is written from now on in a gallery with an outbox other numbers than any copy of the file gives
/// (runtime/gallery/sqlite/numbers.py); the caller holds the lock.
void begin_numbers(const Database& database);

/// Let a reader of a gallery of schema 2 or 3 see the columns of schema 4; the file stays as it is.
void see_as_new(const Database& database);

/// The path with more at its end.
std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix);

}  // namespace vreid::gallery

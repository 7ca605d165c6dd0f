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

/// The tables of the log of changes and of the audit, which schema 1 does not have.
const char* log_tables();

/// Upgrade an open gallery of schema 1 or 2, in one transaction; the caller holds the lock. Of vehicles whose
/// names are equal but for case the one with the lowest id keeps it, the others get a number, and the audit
/// says so.
void upgrade(const Database& database);

/// Let a reader of a gallery of schema 2 see the columns of schema 3; the file stays as it is.
void see_as_new(const Database& database);

/// SQLite would take the write-ahead log of a gallery that is gone for the new one's, and bring its vehicles
/// back.
void refuse_stray_log(const std::filesystem::path& path);

/// The path with more at its end.
std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix);

}  // namespace vreid::gallery

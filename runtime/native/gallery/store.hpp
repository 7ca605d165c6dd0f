// The gallery's file: what is in it, who may open it, how one begins (runtime/galleries/store.py,
// upgrade.py).
#pragma once

#include <filesystem>

#include "database.hpp"
#include "vreid/gallery.hpp"

namespace vreid::gallery {

/// What the database says it is; `old` lets one pass that can be upgraded. Refused for another application's
/// file, another schema, or a damaged one.
About about_of(const Database& database, bool old = false);

/// Make an empty gallery at `path`, whole or not at all; the caller holds the lock.
void create(const std::filesystem::path& path, const About& about);

/// Upgrade an open gallery of schema 1, in one transaction; the caller holds the lock. Says whether it was
/// one.
bool upgraded(const Database& database);

/// SQLite would take the write-ahead log of a gallery that is gone for the new one's, and bring its vehicles
/// back.
void refuse_stray_log(const std::filesystem::path& path);

/// The path with more at its end.
std::filesystem::path beside(const std::filesystem::path& path, const char* suffix);

}  // namespace vreid::gallery

// A model as it is run: its manifest, and the bytes of its engine as they were hashed.
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "vreid/manifest.hpp"

namespace vreid {

/// The bytes of an engine, as they were hashed: engines run `bytes`, and `path` is for messages and never
/// opened again.
struct EngineFile {
    std::filesystem::path path;
    std::string bytes;
};

/// The engine at `engine`, read once; Refused where it is missing or its hash is not the one that `manifest`
/// (at `path`) gives.
EngineFile engine_file(const Manifest& manifest, const std::filesystem::path& engine,
                       const std::filesystem::path& path);

/// The manifest at `path` and its engine. Refused as read_manifest refuses.
std::pair<Manifest, EngineFile> read_model(const std::filesystem::path& path);

}  // namespace vreid

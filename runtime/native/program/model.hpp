// The flags that every verb with a model has.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace vreid::program {

/// The manifest, and how to run it.
struct Model {
    std::filesystem::path manifest;
    int threads = 1;
    std::string engine;  // "" is the manifest's backend
};

/// The flags that make a Model; `model` outlives the program.
void add_model(CLI::App& verb, Model& model);

/// A manifest's path from what a person wrote; Refused for a bare engine.
std::filesystem::path manifest_path(const std::filesystem::path& path);

}  // namespace vreid::program

// The verbs of vreid-native: each adds its flags to the program and, when it is called, does its work; and
// the flags that every verb with a model has.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vreid/embedder.hpp"

namespace vreid::program {

// `code` becomes the exit code: 0 done, 1 the answer is no. A wrong request is thrown as Refused.
void add_info(CLI::App& program, int& code);
void add_embed(CLI::App& program, int& code);
void add_search(CLI::App& program, int& code);
void add_bench(CLI::App& program, int& code);

/// The manifest, and how to run it.
struct Model {
    std::filesystem::path manifest;
    int threads = 1;
    std::string engine;  // "" is the manifest's backend
};

/// The flags that make a Model; `model` outlives the program.
void add_model(CLI::App& verb, Model& model);

/// The names of the engines that were compiled in, as one text.
std::string engines_here();

/// The flags --threads and --engine of a verb that names its model in another way.
void add_engine(CLI::App& verb, Model& model);

/// The check of a flag's value, with the flag's name in its error: digits, from `least` to `most`, or to what
/// fits into 64 bits.
CLI::Validator whole_number(const std::string& flag, std::int64_t least,
                            std::optional<std::int64_t> most = {});

/// The features (n, dim) of pictures in files.
std::vector<float> features_of(Embedder& embedder, const std::vector<std::filesystem::path>& pictures);

/// A manifest's path from what a person wrote; Refused for a bare engine.
std::filesystem::path manifest_path(const std::filesystem::path& path);

}  // namespace vreid::program

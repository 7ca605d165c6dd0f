// The verbs of vreid-native: each adds its flags to the program and, when it is asked for, does its work.
#pragma once

#include <CLI/CLI.hpp>

namespace vreid::program {

// `code` becomes the exit code: 0 done, 1 the answer is no. A wrong request is thrown as Refused.
void add_info(CLI::App& program, int& code);
void add_embed(CLI::App& program, int& code);
void add_search(CLI::App& program, int& code);
void add_bench(CLI::App& program, int& code);

}  // namespace vreid::program

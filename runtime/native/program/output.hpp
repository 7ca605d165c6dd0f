// What a verb prints: tables for people on stderr, one JSON document for machines on stdout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace vreid::program {

using Document = nlohmann::ordered_json;  // fields stay in the order in which they are written

/// The one document of a `--json` run.
void print_document(const Document& document);

/// A short table for people; the first column is text, the others are aligned right.
void print_table(const std::string& title, const std::vector<std::vector<std::string>>& rows);

/// `value` with `places` digits behind the point.
std::string fixed(double value, int places);

}  // namespace vreid::program

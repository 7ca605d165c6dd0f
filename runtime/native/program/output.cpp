// Prints documents and tables.
#include "output.hpp"

#include <algorithm>
#include <iomanip>
#include <iostream>
#include <sstream>

namespace vreid::program {

void print_document(const Document& document) {
    // what is not UTF-8, such as a path may be, is replaced: a document is always complete
    std::cout << document.dump(2, ' ', false, Document::error_handler_t::replace) << '\n' << std::flush;
}

void print_table(const std::string& title, const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t column = 0; column < row.size(); ++column) {
            widths[column] = std::max(widths[column], row[column].size());
        }
    }
    std::ostringstream text;
    text << title << '\n';
    for (const auto& row : rows) {
        for (std::size_t column = 0; column < row.size(); ++column) {
            text << "  " << (column == 0 ? std::left : std::right)
                 << std::setw(static_cast<int>(widths[column])) << row[column];
        }
        text << '\n';
    }
    std::cerr << text.str();
}

std::string fixed(double value, int places) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(places) << value;
    return text.str();
}

}  // namespace vreid::program

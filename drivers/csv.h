#pragma once

#include <string>
#include <vector>

namespace hilbertring {

/// One line of comma-separated values.
struct CsvRow {
  int line = 0;  ///< in the file, from 1
  std::vector<std::string> cells;
};

/// Lines with cells between commas; a cell in double quotes may hold commas, and a quote as two. Empty lines are left out. A cell never spans lines.
/// Throws input_error naming `path` and the line if quotes are not closed, or something stands behind them.
std::vector<CsvRow> parse_csv(const std::string& text, const std::string& path);

/// Whether a cell may be this text: UTF-8 without control characters, line breaks among them.
bool is_cell_text(const std::string& text);

/// The cells as one line, ended, in quotes where they need them. All are `is_cell_text`.
std::string csv_line(const std::vector<std::string>& cells);

}  // namespace hilbertring

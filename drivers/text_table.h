#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hilbertring {

enum class Align { kLeft, kRight };

/// Rows of text set in columns, two blanks between them.
class TextTable {
 public:
  struct Column {
    std::string title;
    Align align = Align::kRight;
  };
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell per column; missing ones are empty.
  void add_row(std::vector<std::string> cells);
  /// The titles (unless all are empty) and the rows, each line ended, after `indent` blanks.
  std::string to_text(std::size_t indent = 0) const;

 private:
  std::string line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths, std::size_t indent) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// "name   value" lines: a table of two left-aligned columns without titles.
TextTable name_value_table();

}  // namespace hilbertring

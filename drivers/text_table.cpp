#include "drivers/text_table.h"

#include <algorithm>
#include <utility>

namespace hilbertring {

void TextTable::add_row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string TextTable::line(const std::vector<std::string>& cells, const std::vector<std::size_t>& widths, std::size_t indent) const {
  std::string text(indent, ' ');
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const std::string padding(widths[c] - cells[c].size(), ' ');
    text += (c == 0 ? "" : "  ") + (columns_[c].align == Align::kLeft ? cells[c] + padding : padding + cells[c]);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string TextTable::to_text(std::size_t indent) const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::vector<std::size_t> widths(columns_.size());
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths[c] = titles[c].size();
    for (const auto& row : rows_) widths[c] = std::max(widths[c], row[c].size());
  }
  const bool has_titles = std::any_of(titles.begin(), titles.end(), [](const std::string& title) { return !title.empty(); });
  std::string text = has_titles ? line(titles, widths, indent) : "";
  for (const auto& row : rows_) text += line(row, widths, indent);
  return text;
}

TextTable name_value_table() { return TextTable({{"", Align::kLeft}, {"", Align::kLeft}}); }

}  // namespace hilbertring

#include "drivers/csv.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"

namespace hilbertring {

namespace {

Error bad_quotes(const std::string& path, int line) { return input_error(path + ":" + std::to_string(line) + ": quotes must enclose a whole cell"); }

/// Takes the cell that begins at `at`; leaves `at` behind it, on a comma or the end.
std::string take_cell(const std::string& text, std::size_t& at, const std::string& path, int line) {
  if (at == text.size() || text[at] != '"') {
    const std::size_t end = std::min(text.find(',', at), text.size());
    std::string cell = text.substr(at, end - at);
    if (cell.find('"') != std::string::npos) throw bad_quotes(path, line);
    at = end;
    return cell;
  }
  std::string cell;
  for (++at; at < text.size(); ++at) {
    const bool is_quote = text[at] == '"';
    if (is_quote && (at + 1 == text.size() || text[at + 1] != '"')) break;
    if (is_quote) ++at;
    cell += text[at];
  }
  if (at == text.size() || (++at < text.size() && text[at] != ',')) throw bad_quotes(path, line);
  return cell;
}

}  // namespace

std::vector<CsvRow> parse_csv(const std::string& text, const std::string& path) {
  std::vector<CsvRow> rows;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    CsvRow row{number, {}};
    std::size_t at = 0;
    row.cells.push_back(take_cell(line, at, path, number));
    while (at < line.size()) row.cells.push_back(take_cell(line, ++at, path, number));
    rows.push_back(std::move(row));
  }
  return rows;
}

bool is_cell_text(const std::string& text) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
  if (std::ranges::any_of(text, is_control)) return false;
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::type_error&) {  // not UTF-8
    return false;
  }
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (const std::string& cell : cells) {
    if (&cell != &cells.front()) line += ',';
    if (cell.find_first_of(",\"") == std::string::npos) {
      line += cell;
      continue;
    }
    line += '"';
    for (const char c : cell) line += c == '"' ? std::string("\"\"") : std::string(1, c);
    line += '"';
  }
  return line + '\n';
}

}  // namespace hilbertring

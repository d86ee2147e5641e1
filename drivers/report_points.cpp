#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "core/error.h"
#include "drivers/csv.h"
#include "drivers/report_series.h"
#include "io/files.h"

namespace hilbertring {

namespace {

/// The lines of a list of points, cells by the names of their columns.
class PointTable {
 public:
  PointTable(const std::string& path, const std::vector<CsvRow>& rows) : path_(path) {
    if (rows.empty()) throw input_error(path + ": is empty; its first line must name the columns label, series, kind, tokens, ranks");
    for (std::size_t i = 0; i < rows[0].cells.size(); ++i) columns_[rows[0].cells[i]] = i;
    for (const char* name : {"label", "series", "kind", "tokens", "ranks"}) {
      if (columns_.count(name) == 0) throw input_error(path + ":" + std::to_string(rows[0].line) + ": column '" + name + "' is missing");
    }
  }

  PlannedPoint point(const CsvRow& row) const {
    PlannedPoint point{text(row, "label"), text(row, "series"), text(row, "kind"), count(row, "tokens"), count(row, "ranks")};
    if (point.kind != "weak" && point.kind != "strong" && point.kind != "sequence") {
      throw complaint(row, "kind", "must be weak, strong or sequence");
    }
    return point;
  }

  Error complaint(const CsvRow& row, const std::string& column, const std::string& rule) const {
    return input_error(path_ + ":" + std::to_string(row.line) + ": " + column + " is '" + cell(row, column) + "', but " + rule);
  }

 private:
  std::string cell(const CsvRow& row, const std::string& column) const {
    const std::size_t index = columns_.at(column);
    return index < row.cells.size() ? row.cells[index] : "";
  }

  std::string text(const CsvRow& row, const std::string& column) const {
    if (cell(row, column).empty()) throw complaint(row, column, "must not be empty");
    if (!is_cell_text(cell(row, column))) {
      throw input_error(path_ + ":" + std::to_string(row.line) + ": " + column + " must be UTF-8 without control characters");
    }
    return cell(row, column);
  }

  std::int64_t count(const CsvRow& row, const std::string& column) const {
    const std::string text = cell(row, column);
    std::int64_t value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc{} || end != text.data() + text.size() || value < 1) throw complaint(row, column, "must be a whole number of at least 1");
    return value;
  }

  const std::string& path_;
  std::map<std::string, std::size_t> columns_;
};

}  // namespace

std::vector<PlannedPoint> read_points(const std::string& path) {
  const std::vector<CsvRow> rows = parse_csv(read_text_file(path), path);
  const PointTable table(path, rows);
  std::vector<PlannedPoint> points;
  std::set<std::string> labels;
  for (auto row = rows.begin() + 1; row != rows.end(); ++row) {
    points.push_back(table.point(*row));
    if (!labels.insert(points.back().label).second) throw table.complaint(*row, "label", "must stand once");
  }
  if (points.empty()) throw input_error(path + ": has no points");
  return points;
}

}  // namespace hilbertring

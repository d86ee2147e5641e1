#include <array>
#include <charconv>
#include <cmath>

#include "core/specification.h"
#include "drivers/csv.h"
#include "drivers/pass_totals.h"
#include "drivers/report_tables.h"

namespace hilbertring {

namespace {

/// The shortest text that gives the same number again.
std::string text_of(double value) {
  std::array<char, 64> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}
std::string text_of(std::int64_t value) { return std::to_string(value); }

template <class Value>
std::string text_of(const std::optional<Value>& value, double factor = 1) {
  return value ? text_of(*value * factor) : "";
}

using Cells = std::vector<std::pair<std::string, std::string>>;

Cells point_cells(const Series& series, const ReportPoint& point) {
  const auto count = [](std::int64_t value) { return value > 0 ? text_of(value) : ""; };
  return {{"series", series.name},
          {"kind", series.kind},
          {"label", point.planned.label},
          {"state", to_string(point.state)},
          {"reason", point.reason},
          {"tokens", count(point.planned.num_tokens)},
          {"ranks", count(point.planned.num_ranks)}};
}

Cells pass_cells(const Series& series, const ReportPoint& point, Pass which) {
  const RecordedPass& pass = *point.pass(which);
  const auto scaling = scaling_of(series, point, which);
  const auto error_text = [&](double predicted) { return text_of((predicted / pass.median_seconds - 1) * 100); };
  return {{"pass", std::string(name_of(which))},
          {"median_ms", text_of(pass.median_seconds * 1e3)},
          {"p95_ms", text_of(pass.p95_seconds * 1e3)},
          {"ideal_ms", scaling ? text_of(scaling->ideal_seconds * 1e3) : ""},
          {"efficiency_percent", scaling ? text_of(scaling->efficiency * 100) : ""},
          {"predicted_ms", text_of(pass.predicted_seconds, 1e3)},
          {"prediction_error_percent", pass.predicted_seconds ? error_text(*pass.predicted_seconds) : ""},
          {"teraflop_per_second", text_of(pass.teraflop_per_second)},
          {"allowed_pairs", text_of(pass.allowed_pairs)},
          {"sent_bytes", text_of(pass.sent_bytes)},
          {"dense_ring_bytes", text_of(pass.dense_ring_bytes)},
          {"hidden_percent", text_of(pass.hidden_share, 100)}};
}

Cells record_cells(const BenchRecord& record) {
  Cells cells = {{"neighbours_percent", text_of(record.neighbour_share, 100)},
                 {"peak_bytes", text_of(record.peak_bytes)},
                 {"predicted_peak_bytes", text_of(record.predicted_peak_bytes)},
                 {"nodes", text_of(record.num_nodes)},
                 {"threads_per_rank", text_of(record.num_threads)},
                 {"backend", record.backend},
                 {"transport", record.transport},
                 {"device", record.device},
                 {"repeats", text_of(record.num_repeats)},
                 {"type", record.type},
                 {"batch", text_of(record.shape.batch)},
                 {"heads", text_of(record.shape.heads)},
                 {"kv_heads", text_of(record.shape.kv_heads)},
                 {"head_dim", text_of(record.shape.head_dim)},
                 {"pattern", record.pattern}};
  cells.insert(cells.end(), record.specification.begin(), record.specification.end());
  cells.insert(cells.end(), {{"program_version", record.program_version}, {"build", record.build}});
  return cells;
}

/// The columns are those of a whole line; a line that lacks the last of them has them empty.
class CsvTable {
 public:
  CsvTable() {
    BenchRecord record;
    for (const std::string& key : specification_keys()) record.specification.emplace_back(key, "");
    ReportPoint blank;
    blank.record = record;
    add_cells(cells_of({}, blank, Pass::kForward), &std::pair<std::string, std::string>::first);
  }

  void add(const Series& series, const ReportPoint& point, Pass which) {
    add_cells(cells_of(series, point, which), &std::pair<std::string, std::string>::second);
  }
  void add_unmeasured(const Series& series, const ReportPoint& point) {
    Cells cells = point_cells(series, point);
    cells.resize(num_columns_);
    add_cells(cells, &std::pair<std::string, std::string>::second);
  }
  const std::string& text() const { return text_; }

 private:
  static Cells cells_of(const Series& series, const ReportPoint& point, Pass which) {
    Cells cells = point_cells(series, point);
    for (const auto& cell : pass_cells(series, point, which)) cells.push_back(cell);
    for (const auto& cell : record_cells(*point.record)) cells.push_back(cell);
    return cells;
  }

  void add_cells(const Cells& cells, std::string Cells::value_type::*part) {
    std::vector<std::string> line;
    for (const auto& cell : cells) line.push_back(cell.*part);
    num_columns_ = line.size();
    text_ += csv_line(line);
  }

  std::string text_;
  std::size_t num_columns_ = 0;
};

}  // namespace

std::string report_csv(const std::vector<Series>& all) {
  CsvTable table;
  for (const Series& series : all) {
    for (const ReportPoint& point : series.points) {
      if (!point.record) table.add_unmeasured(series, point);
      for (const Pass which : {Pass::kForward, Pass::kBackward}) {
        if (point.pass(which) != nullptr) table.add(series, point, which);
      }
    }
  }
  return table.text();
}

}  // namespace hilbertring

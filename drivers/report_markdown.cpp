#include <algorithm>
#include <set>

#include "drivers/pass_totals.h"
#include "drivers/report_tables.h"
#include "drivers/units.h"

namespace hilbertring {

namespace {

std::string percent(double share) { return format_percent(share, 1); }
std::string percent(const std::optional<double>& share) { return share ? percent(*share) : "-"; }

/// A cell's text without what would end the cell.
std::string plain(std::string text) {
  std::replace(text.begin(), text.end(), '|', '/');
  return text;
}

class MarkdownTable {
 public:
  explicit MarkdownTable(const std::vector<std::string>& titles) {
    add(titles);
    text_ += "|";
    for (std::size_t i = 0; i < titles.size(); ++i) text_ += "---|";
    text_ += "\n";
  }
  void add(const std::vector<std::string>& cells) {
    text_ += "|";
    for (const std::string& cell : cells) text_.append(" ").append(plain(cell)).append(" |");
    text_ += "\n";
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

bool has_prediction(const Series& series) {
  const auto is_predicted = [](const RecordedPass* pass) { return pass != nullptr && pass->predicted_seconds; };
  return std::any_of(series.points.begin(), series.points.end(),
                     [&](const ReportPoint& point) { return is_predicted(point.pass(Pass::kForward)) || is_predicted(point.pass(Pass::kBackward)); });
}

/// "+3.2 %"
std::string signed_percent(double share) { return std::string(share < 0 ? "" : "+").append(percent(share)); }

std::vector<std::string> measured_row(const Series& series, const ReportPoint& point, Pass which, bool with_prediction) {
  const RecordedPass& pass = *point.pass(which);
  const auto scaling = scaling_of(series, point, which);
  std::vector<std::string> row = {format_count(point.planned.num_ranks),
                                  format_count(point.planned.num_tokens),
                                  std::string(name_of(which)),
                                  format_seconds(pass.median_seconds),
                                  format_seconds(pass.p95_seconds),
                                  scaling ? percent(scaling->efficiency) : "-",
                                  format_number(pass.teraflop_per_second),
                                  format_bytes(pass.sent_bytes),
                                  format_bytes(pass.dense_ring_bytes),
                                  percent(pass.hidden_share),
                                  percent(point.record->neighbour_share)};
  if (!with_prediction) return row;
  const auto& predicted = pass.predicted_seconds;
  row.push_back(predicted ? format_seconds(*predicted) + " (" + signed_percent(*predicted / pass.median_seconds - 1) + ")" : "-");
  return row;
}

std::string series_table(const Series& series) {
  const bool with_prediction = has_prediction(series);
  std::vector<std::string> titles = {"ranks",   "tokens", "pass",       "median", "p95",       "efficiency",
                                     "TFLOP/s", "sent",   "dense ring", "hidden", "neighbours"};
  if (with_prediction) titles.push_back("predicted");
  MarkdownTable table(titles);
  for (const ReportPoint& point : series.points) {
    for (const Pass which : {Pass::kForward, Pass::kBackward}) {
      if (point.pass(which) != nullptr) table.add(measured_row(series, point, which, with_prediction));
    }
    if (point.record) continue;
    std::vector<std::string> row(titles.size());
    row[0] = format_count(point.planned.num_ranks);
    row[1] = format_count(point.planned.num_tokens);
    row[2] = std::string("**").append(to_string(point.state)).append("**");
    table.add(row);
  }
  return table.text();
}

std::string unmeasured_text(const std::vector<Series>& all) {
  MarkdownTable table({"point", "series", "state", "reason"});
  bool is_empty = true;
  for (const Series& series : all) {
    for (const ReportPoint& point : series.points) {
      if (point.record) continue;
      is_empty = false;
      table.add({point.planned.label, series.name + (series.kind.empty() ? "" : " (" + series.kind + ")"), to_string(point.state),
                 point.state == ReportPoint::State::kMissing ? "no trace" : point.reason});
    }
  }
  return is_empty ? "" : "\n## Points without a measurement\n\n" + table.text();
}

void add_lines(std::string& text, const std::string& title, const std::set<std::string>& values) {
  for (const std::string& value : values) text.append("- ").append(title).append(": ").append(value).append("\n");
}

std::string setting_text(const std::vector<Series>& all) {
  std::set<std::string> programs, settings, shapes;
  for (const Series& series : all) {
    for (const ReportPoint& point : series.points) {
      if (!point.record) continue;
      const BenchRecord& record = *point.record;
      programs.insert(record.program_version + ", " + record.build);
      settings.insert(record.device + ", " + record.backend + " over " + record.transport);
      shapes.insert("B=" + std::to_string(record.shape.batch) + " H=" + std::to_string(record.shape.heads) +
                    " G=" + std::to_string(record.shape.kv_heads) + " D=" + std::to_string(record.shape.head_dim) + " " + record.type);
    }
  }
  std::string text;
  add_lines(text, "program", programs);
  add_lines(text, "measured on", settings);
  add_lines(text, "shape", shapes);
  return text.empty() ? "" : "\n## Measured\n\n" + text;
}

constexpr const char* kLegend =
    "\nTimes are medians (and 95th percentiles) over repeats of the slowest rank. Efficiency: allowed pairs per second and rank, as a share of those "
    "of the series' point of\nfewest ranks (kind sequence: of fewest tokens). Hidden: of the transfers, what computing did not stand still for. "
    "Neighbours: of a token's neighbours on the grid those\nthat the pattern lets it attend to.\n";

std::string title_of(const Series& series) {
  if (series.kind == "weak") return "Weak scaling: " + series.name;
  if (series.kind == "strong") return "Strong scaling: " + series.name;
  if (series.kind == "sequence") return "Length of the sequence: " + series.name;
  return "Single problems: " + series.name;
}

}  // namespace

std::string count_text(const std::vector<Series>& all) {
  std::int64_t num_measured = 0, num_failed = 0, num_missing = 0;
  for (const Series& series : all) {
    for (const ReportPoint& point : series.points) {
      num_measured += point.state == ReportPoint::State::kMeasured ? 1 : 0;
      num_failed += point.state == ReportPoint::State::kFailed ? 1 : 0;
      num_missing += point.state == ReportPoint::State::kMissing ? 1 : 0;
    }
  }
  return format_plural(num_measured + num_failed + num_missing, "point") + ": " + format_count(num_measured) + " measured, " +
         format_count(num_failed) + " failed, " + format_count(num_missing) + " missing";
}

std::string report_markdown(const std::vector<Series>& all, const std::vector<std::string>& plots) {
  std::string text = "# Scaling\n\n" + count_text(all) + ".\n" + kLegend;
  for (const std::string& plot : plots) text.append("\n![").append(plot).append("](").append(plot).append(")\n");
  for (const Series& series : all) {
    if (!series.kind.empty()) text += "\n## " + title_of(series) + "\n\n" + series_table(series);
  }
  return text + unmeasured_text(all) + setting_text(all);
}

}  // namespace hilbertring

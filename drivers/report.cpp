#include <algorithm>
#include <filesystem>
#include <ostream>
#include <string>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/partial_directory.h"
#include "drivers/plotter.h"
#include "drivers/report_series.h"
#include "drivers/report_tables.h"
#include "io/files.h"

namespace hilbertring {

namespace {

namespace fs = std::filesystem;

constexpr const char* kTable = "report.csv";
constexpr const char* kText = "report.md";
constexpr const char* kWhat = "a report";

CommandSyntax syntax() {
  return {"report",
          "Gathers records of bench into a table (CSV, Markdown) and plots (PNG, SVG) of scaling, traffic and the model's predictions.",
          {"RECORDS..."},
          {{"Report options",
            {{"output", "DIR", "the directory to make", 'o'},
             {"points", "POINTS.csv", "the points that should be there (cluster/scale leaves the list): those without a record are shown as missing"},
             {"python", "PROGRAM", "the Python that draws; else python3 or /usr/bin/python3, whichever has matplotlib"},
             {"force", "", "replace the report that DIR holds"}}}},
          "hilbertring report scaling/records --points scaling/points.csv -o scaling/report"};
}

/// Whether nothing but a report lies there: what --force may remove.
bool holds_a_report(const fs::path& directory) {
  const auto is_of_report = [](const fs::directory_entry& entry) {
    const std::string name = entry.path().filename();
    return entry.is_regular_file() && (name == kTable || name == kText || is_plot_file(name));
  };
  return fs::exists(directory / kTable) && std::all_of(fs::directory_iterator(directory), fs::directory_iterator(), is_of_report);
}

std::vector<Series> gather(const Arguments& arguments) {
  std::vector<std::string> paths;
  for (std::size_t i = 0; i < arguments.num_operands(); ++i) paths.push_back(arguments.operand(i));
  const auto list = arguments.text("points");
  const std::vector<PlannedPoint> points = list ? read_points(*list) : std::vector<PlannedPoint>();
  const Records records = read_records(paths);
  if (list) return planned_series(points, records);
  if (records.measured.empty() && records.failed.empty()) throw input_error(paths.front() + ": holds no records");
  return found_series(records);
}

int report(Job& job, const Arguments& arguments) {
  job.require_one_rank("report");
  const std::string directory = directory_name(arguments.required_text("output"));
  const bool may_replace = arguments.has("force");
  refuse_taken_directory(directory, kWhat, may_replace, holds_a_report);
  const std::vector<Series> series = gather(arguments);

  PartialDirectory partial(directory);
  write_text_file(partial.where() + "/" + kTable, report_csv(series));
  const PlotOutcome plots = draw_plots(partial.where(), arguments.text("python").value_or(""));
  write_text_file(partial.where() + "/" + kText, report_markdown(series, plots.files));
  refuse_taken_directory(directory, kWhat, may_replace, holds_a_report);
  partial.publish();

  job.out() << count_text(series) << "\n"
            << "wrote " << directory << ": " << kTable << ", " << kText;
  for (const std::string& plot : plots.files) job.out() << ", " << plot;
  job.out() << "\n";
  if (!plots.complaint.empty()) throw failure(directory + " has tables, but no plots: " + plots.complaint);
  return 0;
}

}  // namespace

Command report_command() { return {syntax(), report}; }

}  // namespace hilbertring

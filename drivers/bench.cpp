#include <algorithm>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/bench_job.h"
#include "drivers/bench_ranks.h"
#include "drivers/bench_report.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/pattern_options.h"
#include "drivers/rotation_option.h"
#include "drivers/transport_choice.h"
#include "drivers/units.h"
#include "io/agreement.h"
#include "io/run_record.h"

namespace hilbertring {

namespace {

CommandSyntax syntax() {
  return {"bench",
          "Measures ring attention on random inputs made on the spot: checks rows in float64 first, then times whole passes, computing alone and "
          "transfers alone.",
          {},
          {shape_options(),
           {"Bench options",
            {{"sizes", "LIST", "numbers of tokens, one problem each: 8192,65536; else --tokens"},
             {"presets", "LIST", "named patterns, one problem each: dense,longnet; else --preset or single options"},
             {"type", "TYPE", "of q, k, v and results: float16, bfloat16, float32 or float64; else float32"},
             {"no-gradient", "", "forward only"},
             rotation_option(),
             {"seed", "NUMBER", "of the random numbers and the rows checked; else 0"},
             {"repeats", "R", "timed passes of each kind; else 5"},
             {"warmup", "W", "passes of each kind before those; else 1"},
             {"verify-rows", "K", "check so many rows of queries and of keys before timing; else 16"},
             {"record", "FILE.json", "append a JSON record of each problem, one line"},
             {"label", "TEXT", "what the records are called: 'report' finds points of a sweep by it"}}},
           rates_options(),
           layout_options(),
           pattern_options()},
          "mpirun -np 4 hilbertring bench --sizes 8192,65536 --presets dense,longnet --heads 8 --head-dim 64 --type bfloat16"};
}

/// One problem to measure.
struct BenchRow {
  std::string pattern;  ///< the preset's name, if it has one
  BenchTask task;
  std::optional<TimePredictions> times = {};  ///< with --rates
};

struct BenchPlan {
  RankLayout layout;
  BenchSetting setting;
  std::vector<BenchRow> rows;
};

/// The entries of a list option; without it one empty text, which leaves the other options as they are.
std::vector<std::string> list_of(const Arguments& arguments, const std::string& name) {
  const std::string text = arguments.text(name).value_or("");
  std::vector<std::string> entries;
  std::size_t begin = 0;
  for (std::size_t comma = text.find(','); comma != std::string::npos; comma = text.find(',', begin)) {
    entries.push_back(text.substr(begin, comma - begin));
    begin = comma + 1;
  }
  entries.push_back(text.substr(begin));
  if (arguments.has(name) && std::count(entries.begin(), entries.end(), "") > 0) {
    throw usage_error("--" + name + " is '" + text + "', but must be a list without gaps, such as " +
                      (name == "sizes" ? "8192,65536" : "dense,longnet"));
  }
  return entries;
}

void refuse_both(const Arguments& arguments, const std::string& one, const std::string& list) {
  if (arguments.has(one) && arguments.has(list)) throw usage_error("bench takes --" + one + " or --" + list + ", not both");
}

/// A size is checked as --tokens is, but the complaint must name the option that was given.
Shape shape_of_row(const Arguments& arguments, const std::string& size) {
  if (size.empty()) return shape_from(arguments);
  arguments.with("sizes", size).required_integer("sizes", 1);
  return shape_from(arguments.with("tokens", size));
}

Problem problem_of_row(const Arguments& arguments, const std::string& size, const std::string& preset) {
  Problem problem{.shape = shape_of_row(arguments, size),
                  .type = parse_element_type(arguments.text("type").value_or("float32")),
                  .specification = {},
                  .with_gradient = !arguments.has("no-gradient"),
                  .backward_rotation = rotation_from(arguments)};
  const Arguments of_row = preset.empty() ? arguments : arguments.with("preset", preset);
  std::ostream nowhere(nullptr);  // presets are many here, and each row says what it does
  problem.specification = pattern_from(of_row, problem.shape, "bench", nowhere);
  return problem;
}

BenchTask make_task(const Job& job, const RankLayout& layout, const Arguments& arguments, const Problem& problem) {
  BenchTask task = bench_task(job, layout, problem, layout.num_ranks);
  task.seed = static_cast<std::uint64_t>(arguments.integer_or("seed", 0, 0));
  task.num_checked_rows = arguments.integer_or("verify-rows", task.num_checked_rows, 1);
  task.num_warmups = arguments.integer_or("warmup", task.num_warmups, 0);
  task.num_repeats = arguments.integer_or("repeats", task.num_repeats, 1);
  return task;
}

/// Labels stand in JSON, in CSV and in pictures.
std::optional<std::string> label_from(const Arguments& arguments) {
  auto label = arguments.text("label");
  if (!label) return std::nullopt;
  const bool is_plain = std::all_of(label->begin(), label->end(), [](char c) { return c >= ' ' && c <= '~'; });
  if (label->empty() || !is_plain) throw usage_error("--label is '" + *label + "', but must be printable ASCII, and not empty");
  if (!arguments.has("record")) throw usage_error("bench takes --label with --record only");
  return label;
}

/// Every problem is made and found to fit before the first is measured: an hour's work must not end at a slip in the last row.
BenchPlan make_plan(const Job& job, const Arguments& arguments) {
  refuse_both(arguments, "tokens", "sizes");
  refuse_both(arguments, "preset", "presets");
  BenchPlan plan;
  const std::optional<RatesFile> rates = rates_from(arguments);
  plan.layout = choose_layout(job, arguments);
  plan.setting = {.transport = to_string(plan.layout.transport),
                  .num_ranks = plan.layout.num_ranks,
                  .num_threads = plan.layout.num_threads,
                  .num_nodes = job.num_nodes(),
                  .backend = std::string(to_string(plan.layout.backend.backend)),
                  .label = label_from(arguments)};
  for (const std::string& size : list_of(arguments, "sizes")) {
    for (const std::string& preset : list_of(arguments, "presets")) {
      const Problem problem = problem_of_row(arguments, size, preset);
      const std::string name = preset.empty() ? arguments.text("preset").value_or("as given") : preset;
      plan.rows.push_back({name, make_task(job, plan.layout, arguments, problem)});
      if (!rates) continue;
      require_rates_for(*rates, problem, plan.layout.backend.backend, plan.layout.num_threads, arguments);
      plan.rows.back().times = predict_times(*plan.rows.back().task.schedule, rates->rates);
    }
  }
  return plan;
}

std::string title_of(const BenchRow& row) {
  const Problem& problem = row.task.schedule->problem();
  return format_count(problem.shape.tokens) + " tokens, " + row.pattern + ": " + describe_branches(problem.specification) + "; " +
         describe_order(problem.specification, problem.shape.tokens) + "; " + describe_chunks(problem.specification, problem.shape) + "\n";
}

std::string checked_text(const BenchRow& row, const BenchFigures& figures) {
  const bool with_gradient = row.task.schedule->problem().with_gradient;
  std::string text = "  checked in float64: " + format_plural(row.task.num_checked_rows, "row") + (with_gradient ? " of queries and of keys" : "");
  for (const CheckedTensor& tensor : figures.checked) {
    text += ", " + std::string(to_string(tensor.name)) + " " + format_number(tensor.worst_fraction);
  }
  return text + " of the bound\n";
}

int report_complaints(const Job& job, const BenchFigures& figures) {
  for (const std::string& complaint : figures.complaints) job.out() << "  MISSED: " << complaint << "\n";
  return kStatusMissed;
}

int bench(Job& job, const Arguments& arguments) {
  const BenchPlan plan = make_plan(job, arguments);
  std::optional<JobTransport> transport;
  if (plan.layout.virtual_ranks() == 0) transport.emplace(job, plan.layout);
  for (const BenchRow& row : plan.rows) require_bench_memory(job, plan.layout, row.task);
  const auto record = arguments.text("record");
  if (record) FileRanks(job.communicator()).on_first_rank([&] { require_record_file(*record); });
  TextTable table = bench_table(arguments.has("rates"));
  std::string heading;
  for (const BenchRow& row : plan.rows) {
    job.out() << title_of(row) << std::flush;
    const BenchFigures figures = run_bench(job, plan.layout, row.task, transport ? &transport->get() : nullptr, "bench " + row.pattern);
    if (!figures.complaints.empty()) return report_complaints(job, figures);
    job.out() << checked_text(row, figures) << std::flush;
    add_bench_rows(table, row.pattern, row.task, plan.setting, figures, row.times);
    heading = bench_heading(row.task, plan.setting, figures);
    if (record && job.is_first()) append_record(*record, bench_record_json(row.pattern, row.task, plan.setting, figures, row.times));
  }
  job.out() << heading << table.to_text();
  return 0;
}

}  // namespace

Command bench_command() { return {syntax(), bench}; }

}  // namespace hilbertring

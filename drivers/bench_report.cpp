#include "drivers/bench_report.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <utility>

#include "drivers/pass_totals.h"
#include "drivers/run_report.h"
#include "drivers/units.h"
#include "drivers/version.h"
#include "hilbert/neighbour_share.h"

namespace hilbertring {

namespace {

double teraflop_per_second(const BenchTask& task, Pass pass, const BenchFigures& figures, double seconds) {
  const PassTotals totals{.seconds = seconds, .allowed_pairs = figures.allowed_pairs};
  return operations_per_second(totals, pass, task.schedule->problem().shape.head_dim) * 1e-12;
}

/// What a rank sends on average, 10^9 bytes per second.
double gigabytes_per_second(const PassFigures& figures, const BenchSetting& setting, double seconds) {
  return seconds > 0 ? static_cast<double>(figures.sent_bytes) / static_cast<double>(setting.num_ranks) / seconds * 1e-9 : 0.0;
}

std::string percent_text(const std::optional<double>& share) { return share ? format_percent(*share) : "-"; }

/// How long ranks compute on average, as a share of what the slowest takes. nullopt where one is alone.
std::optional<double> balance(const PassFigures& figures, const BenchSetting& setting) {
  if (setting.num_ranks == 1) return std::nullopt;
  return median(figures.times.mean_compute) / median(figures.times.compute);
}

std::vector<std::string> pass_row(const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                                  const std::optional<TimePredictions>& times, Pass pass) {
  const PassFigures& of_pass = figures.of(pass);
  const double ring = median(of_pass.times.ring), compute = median(of_pass.times.compute), step = median(of_pass.times.step);
  const bool is_sending = of_pass.sent_bytes > 0;
  std::vector<std::string> cells = {format_count(task.schedule->problem().shape.tokens),
                                    pattern,
                                    std::string(name_of(pass)),
                                    format_seconds(ring),
                                    format_seconds(percentile_95(of_pass.times.ring)),
                                    step > 0 ? format_seconds(step) : "-",
                                    format_number(teraflop_per_second(task, pass, figures, ring)),
                                    format_seconds(compute),
                                    format_number(teraflop_per_second(task, pass, figures, compute)),
                                    percent_text(balance(of_pass, setting)),
                                    is_sending ? format_seconds(median(of_pass.times.transfers)) : "-",
                                    percent_text(hidden_share(of_pass)),
                                    format_number(gigabytes_per_second(of_pass, setting, ring)),
                                    format_bytes(of_pass.sent_bytes),
                                    format_bytes(task.schedule->dense_ring_bytes(pass)),
                                    format_bytes(figures.peak_bytes),
                                    format_bytes(figures.predicted_peak_bytes)};
  if (times) {
    const std::optional<PassPrediction>& time = times->of(pass);
    cells.push_back(time ? format_seconds(time->seconds) : "not counted");
    cells.push_back(time ? percent_text(time->seconds / ring - 1) : "-");
  }
  return cells;
}

nlohmann::ordered_json times_json(const std::vector<double>& seconds) {
  return {{"median_seconds", median(seconds)}, {"p95_seconds", percentile_95(seconds)}, {"seconds", seconds}};
}

nlohmann::ordered_json pass_json(const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                                 const std::optional<TimePredictions>& times, Pass pass) {
  const PassFigures& of_pass = figures.of(pass);
  const double ring = median(of_pass.times.ring), compute = median(of_pass.times.compute);
  nlohmann::ordered_json record = {{"rotation", std::string(to_string(task.schedule->rotation(pass)))},
                                   {"ring", times_json(of_pass.times.ring)},
                                   {"ring_step", times_json(of_pass.times.step)},
                                   {"compute_alone", times_json(of_pass.times.compute)},
                                   {"transfers_alone", times_json(of_pass.times.transfers)},
                                   {"waiting_for_messages", times_json(of_pass.times.waiting)},
                                   {"allowed_pairs", figures.allowed_pairs},
                                   {"teraflop_per_second", teraflop_per_second(task, pass, figures, ring)},
                                   {"compute_alone_teraflop_per_second", teraflop_per_second(task, pass, figures, compute)},
                                   {"gigabytes_per_second_per_rank", gigabytes_per_second(of_pass, setting, ring)},
                                   {"balance", nullptr},
                                   {"hidden_share", nullptr},
                                   {"sent_bytes", of_pass.sent_bytes},
                                   {"predicted_bytes", task.schedule->total_bytes(pass)},
                                   {"dense_ring_bytes", task.schedule->dense_ring_bytes(pass)}};
  if (const auto share = balance(of_pass, setting)) record["balance"] = *share;
  if (const auto hidden = hidden_share(of_pass)) record["hidden_share"] = *hidden;
  if (times && times->of(pass)) record["predicted_ms"] = times->of(pass)->seconds * 1e3;
  return record;
}

nlohmann::ordered_json checked_json(const BenchTask& task, const BenchFigures& figures) {
  nlohmann::ordered_json worst = nlohmann::ordered_json::object();
  for (const CheckedTensor& tensor : figures.checked) worst[std::string(to_string(tensor.name))] = tensor.worst_fraction;
  return {{"rows", task.num_checked_rows}, {"worst_of_bound", worst}};
}

/// null where no token has a neighbour.
nlohmann::ordered_json neighbours_json(const Schedule& schedule) {
  const auto found = neighbour_share(schedule.problem().specification, schedule.pattern(), schedule.orders());
  if (!found) return nullptr;
  return {{"share", found->share}, {"is_sampled", found->is_sampled}};
}

}  // namespace

double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return (seconds[(seconds.size() - 1) / 2] + seconds[seconds.size() / 2]) / 2;
}

double percentile_95(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[(95 * seconds.size() + 99) / 100 - 1];
}

std::optional<double> hidden_share(const PassFigures& figures) {
  if (figures.sent_bytes == 0) return std::nullopt;
  return 1 - median(figures.times.waiting) / median(figures.times.transfers);
}

TextTable bench_table(bool has_rates) {
  std::vector<TextTable::Column> columns = {{"tokens"},
                                            {"pattern", Align::kLeft},
                                            {"pass", Align::kLeft},
                                            {"ring"},
                                            {"p95"},
                                            {"ring step"},
                                            {"TFLOP/s"},
                                            {"compute alone"},
                                            {"TFLOP/s"},
                                            {"balance"},
                                            {"transfers alone"},
                                            {"hidden"},
                                            {"GB/s per rank"},
                                            {"sent"},
                                            {"dense ring"},
                                            {"peak"},
                                            {"predicted"}};
  if (has_rates) columns.insert(columns.end(), {{"ring predicted"}, {"error"}});
  return TextTable(std::move(columns));
}

void add_bench_rows(TextTable& table, const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                    const std::optional<TimePredictions>& times) {
  table.add_row(pass_row(pattern, task, setting, figures, times, Pass::kForward));
  if (task.schedule->problem().with_gradient) table.add_row(pass_row(pattern, task, setting, figures, times, Pass::kBackward));
}

std::string bench_heading(const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures) {
  const Shape& shape = task.schedule->problem().shape;
  return figures.device + ": " + format_plural(setting.num_ranks, "rank") + " (" + setting.transport + "), " +
         format_plural(setting.num_threads, "thread") + " each; B=" + std::to_string(shape.batch) + " H=" + std::to_string(shape.heads) +
         " G=" + std::to_string(shape.kv_heads) + " D=" + std::to_string(shape.head_dim) + " " +
         std::string(to_string(task.schedule->problem().type)) + "; median and p95 of " + format_plural(task.num_repeats, "repeat") +
         " of the slowest rank\n";
}

std::string bench_record_json(const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                              const std::optional<TimePredictions>& times) {
  const Problem& problem = task.schedule->problem();
  const Shape& shape = problem.shape;
  nlohmann::ordered_json record = {
      {"program", kBenchProgram},
      {"record_version", kBenchRecordVersion},
      {"label", nullptr},
      {"program_version", program_version()},
      {"build", build_description()},
      {"device", figures.device},
      {"shape",
       {{"batch", shape.batch}, {"tokens", shape.tokens}, {"heads", shape.heads}, {"kv_heads", shape.kv_heads}, {"head_dim", shape.head_dim}}},
      {"type", std::string(to_string(problem.type))},
      {"pattern", pattern},
      {"spec", nlohmann::ordered_json::parse(to_json(problem.specification))},
      {"seed", task.seed},
      {"backend", setting.backend},
      {"transport", setting.transport},
      {"nodes", setting.num_nodes},
      {"ranks", setting.num_ranks},
      {"threads_per_rank", setting.num_threads},
      {"warmups", task.num_warmups},
      {"repeats", task.num_repeats},
      {"checked", checked_json(task, figures)},
      {"forward", pass_json(task, setting, figures, times, Pass::kForward)}};
  if (problem.with_gradient) record["backward"] = pass_json(task, setting, figures, times, Pass::kBackward);
  if (setting.label) record["label"] = *setting.label;
  record["neighbours"] = neighbours_json(*task.schedule);
  record["peak_bytes"] = figures.peak_bytes;
  record["predicted_peak_bytes"] = figures.predicted_peak_bytes;
  return record.dump();
}

}  // namespace hilbertring

#include "drivers/time_report.h"

#include "drivers/run_report.h"
#include "drivers/units.h"

namespace hilbertring {

namespace {

std::string transfers_text(const PassPrediction& time) {
  const std::optional<double> hidden = time.hidden_share();
  if (!hidden) return "nothing travels";
  return "transfers " + format_seconds(time.transfer_seconds) + ", " + format_percent(*hidden) + " hidden";
}

std::string time_text(const Schedule& schedule, Pass pass, const std::optional<PassPrediction>& time) {
  if (!time) return "not predicted: sequence causality over so many tokens on a curve is not counted";
  const bool has_all = time->num_looked_at == schedule.num_ranks();
  const double operations = time->pairs_per_rank * operations_per_pair(pass, schedule.problem().shape.head_dim);
  return format_seconds(time->seconds) + " on rank " + std::to_string(time->slowest.value) +
         (has_all ? ", the slowest" : ", the slowest of " + std::to_string(time->num_looked_at) + " looked at") + "; " + transfers_text(*time) +
         "; " + format_number(operations / time->seconds * 1e-12) + " TFLOP/s per rank";
}

std::string rates_text(const RatesFile& file) {
  const Rates& rates = file.rates;
  std::string text = file.path + ": " + (file.device.empty() ? std::string(to_string(rates.backend)) : file.device) + ", " +
                     std::string(to_string(rates.type)) + ", D=" + std::to_string(rates.head_dim);
  if (!file.machine.empty()) text += ", measured on " + file.machine;
  const bool has_one = rates.within_node.has_value() != rates.between_nodes.has_value();
  if (has_one) text += std::string("; the link ") + (rates.within_node ? "within a node" : "between nodes") + " stands for all";
  return text;
}

}  // namespace

std::span<const double> TimePredictions::stage_seconds(Pass pass) const {
  return of(pass) ? std::span<const double>(of(pass)->stage_seconds) : std::span<const double>();
}

TimePredictions predict_times(const Schedule& schedule, const Rates& rates) {
  TimePredictions times{.forward = predict_time(schedule, Pass::kForward, rates), .backward = {}};
  if (schedule.problem().with_gradient) times.backward = predict_time(schedule, Pass::kBackward, rates);
  return times;
}

void add_time_rows(TextTable& table, const Schedule& schedule, const RatesFile& file, const TimePredictions& times) {
  table.add_row({"rates", rates_text(file)});
  table.add_row({"time forward", time_text(schedule, Pass::kForward, times.forward)});
  if (schedule.problem().with_gradient) table.add_row({"time backward", time_text(schedule, Pass::kBackward, times.backward)});
}

}  // namespace hilbertring

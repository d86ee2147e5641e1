#include "drivers/run_report.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "drivers/text_table.h"
#include "drivers/units.h"
#include "drivers/version.h"

namespace hilbertring {

namespace {

std::vector<std::string> pass_row(const std::string& name, const PassTotals& totals, Pass pass, std::int64_t head_dim) {
  return {name,
          format_seconds(totals.seconds),
          format_seconds(totals.waiting_seconds),
          format_count(totals.allowed_pairs),
          format_number(operations_per_second(totals, pass, head_dim) * 1e-9),
          format_count(totals.sent_bytes),
          format_count(totals.predicted_bytes)};
}

nlohmann::ordered_json pass_json(const PassTotals& totals, Pass pass, std::int64_t head_dim) {
  return {{"seconds", totals.seconds},
          {"waiting_seconds", totals.waiting_seconds},
          {"allowed_pairs", totals.allowed_pairs},
          {"gflop_per_second", operations_per_second(totals, pass, head_dim) * 1e-9},
          {"sent_bytes", totals.sent_bytes},
          {"predicted_bytes", totals.predicted_bytes}};
}

std::string file_name(const std::string& path) { return std::filesystem::path(path).filename().string(); }

}  // namespace

double operations_per_pair(Pass pass, std::int64_t head_dim) { return (pass == Pass::kForward ? 4.0 : 10.0) * static_cast<double>(head_dim); }

double operations_per_second(const PassTotals& totals, Pass pass, std::int64_t head_dim) {
  return totals.seconds > 0 ? operations_per_pair(pass, head_dim) * static_cast<double>(totals.allowed_pairs) / totals.seconds : 0.0;
}

std::string report_text(const Problem& problem, const RunSetting& setting, const RunTotals& totals) {
  TextTable passes({{"pass", Align::kLeft}, {"time"}, {"waiting"}, {"allowed pairs"}, {"GFLOP/s"}, {"bytes sent"}, {"bytes predicted"}});
  passes.add_row(pass_row("forward", totals.forward, Pass::kForward, problem.shape.head_dim));
  if (problem.with_gradient) passes.add_row(pass_row("backward", totals.backward, Pass::kBackward, problem.shape.head_dim));

  TextTable rest = name_value_table();
  rest.add_row({"files", "read and dealt out in " + format_seconds(totals.read_seconds) + ", gathered and written in " +
                             format_seconds(totals.write_seconds)});
  if (totals.num_checkpoints > 0) {
    rest.add_row({"checkpoints", format_count(totals.num_checkpoints) + " written in " + format_seconds(totals.checkpoint_seconds)});
  }
  const std::string per_rank = setting.num_ranks > 1 ? " on the largest rank" : "";
  rest.add_row({"memory", format_bytes(totals.peak_bytes) + " of buffers at the peak" + per_rank + ", predicted " +
                              format_bytes(totals.predicted_peak_bytes) + "; process " + format_bytes(totals.resident_bytes)});
  if (totals.gpu_peak_bytes > 0) {
    rest.add_row({"GPU memory", format_bytes(totals.gpu_peak_bytes) + " of tensors at the peak" + per_rank + ", predicted " +
                                    format_bytes(totals.predicted_gpu_peak_bytes) + "; the kernels' own " + format_bytes(totals.gpu_scratch_bytes)});
  }
  return passes.to_text() + rest.to_text();
}

std::vector<std::pair<std::string, std::string>> result_attributes(const Problem& problem, const RunSetting& setting, const RunTotals& totals) {
  std::vector<std::pair<std::string, std::string>> attributes = {{"program_version", program_version()},
                                                                 {"build", build_description()},
                                                                 {"device", totals.device},
                                                                 {"weights_type", std::string(to_string(totals.weights_type))},
                                                                 {"ranks", std::to_string(setting.num_ranks)},
                                                                 {"threads_per_rank", std::to_string(setting.num_threads)},
                                                                 {"transport", setting.transport},
                                                                 {"case", file_name(setting.case_path)},
                                                                 {"input_type", std::string(to_string(problem.type))},
                                                                 {"read_seconds", std::to_string(totals.read_seconds)},
                                                                 {"forward_seconds", std::to_string(totals.forward.seconds)}};
  if (problem.with_gradient) attributes.emplace_back("backward_seconds", std::to_string(totals.backward.seconds));
  attributes.emplace_back("write_seconds", std::to_string(totals.write_seconds));
  return attributes;
}

std::string record_json(const Problem& problem, const RunSetting& setting, const RunTotals& totals) {
  const Shape& shape = problem.shape;
  nlohmann::ordered_json record = {
      {"program", "hilbertring run"},
      {"program_version", program_version()},
      {"build", build_description()},
      {"device", totals.device},
      {"case", setting.case_path},
      {"result", setting.result_path},
      {"shape",
       {{"batch", shape.batch}, {"tokens", shape.tokens}, {"heads", shape.heads}, {"kv_heads", shape.kv_heads}, {"head_dim", shape.head_dim}}},
      {"type", std::string(to_string(problem.type))},
      {"spec", nlohmann::ordered_json::parse(to_json(problem.specification))},
      {"transport", setting.transport},
      {"ranks", setting.num_ranks},
      {"threads_per_rank", setting.num_threads},
      {"read_seconds", totals.read_seconds},
      {"write_seconds", totals.write_seconds},
      {"forward", pass_json(totals.forward, Pass::kForward, shape.head_dim)}};
  if (problem.with_gradient) record["backward"] = pass_json(totals.backward, Pass::kBackward, shape.head_dim);
  record["num_checkpoints"] = totals.num_checkpoints;
  record["checkpoint_seconds"] = totals.checkpoint_seconds;
  record["peak_bytes"] = totals.peak_bytes;
  record["predicted_peak_bytes"] = totals.predicted_peak_bytes;
  record["resident_bytes"] = totals.resident_bytes;
  if (totals.gpu_peak_bytes > 0) {
    record["gpu_peak_bytes"] = totals.gpu_peak_bytes;
    record["predicted_gpu_peak_bytes"] = totals.predicted_gpu_peak_bytes;
    record["gpu_scratch_bytes"] = totals.gpu_scratch_bytes;
  }
  return record.dump();
}

}  // namespace hilbertring

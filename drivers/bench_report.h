#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "drivers/bench_ranks.h"
#include "drivers/text_table.h"
#include "drivers/time_report.h"
#include "ring/problem.h"

namespace hilbertring {

/// Where and how a benchmark took place.
struct BenchSetting {
  std::string transport;
  std::int64_t num_ranks = 1;
  int num_threads = 1;  ///< per rank
  std::int64_t num_nodes = 1;
  std::string backend;               ///< "cpu" or "cuda"
  std::optional<std::string> label;  ///< what --label says of the record
};

/// The middle value, or the mean of the two middle ones. `seconds` is not empty.
double median(std::vector<double> seconds);
/// The smallest value that 95 % of the values do not exceed (nearest rank): of fewer than 20 the largest.
double percentile_95(std::vector<double> seconds);
/// 1 - waiting / transfers, of medians: 1 if computing never stood still for messages, 0 or less if it did for as long as they take alone. nullopt if
/// nothing is sent. What messages cost besides (a GPU's multiprocessors, memory bandwidth) shows between ring and compute alone.
std::optional<double> hidden_share(const PassFigures& figures);

/// The table's columns, and its two rows (forward, backward) for one problem; `pattern` is the name of the pattern. `times`: what the time model said
/// before, if rates were given; the error is by how much of the measured time that was too long (or, below 0, too short).
TextTable bench_table(bool has_rates);
void add_bench_rows(TextTable& table, const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                    const std::optional<TimePredictions>& times);
/// What the table was measured on.
std::string bench_heading(const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures);
/// Of the records below: another number has other keys or other meanings (docs/FORMAT.md, "Benchmark records").
constexpr int kBenchRecordVersion = 1;
constexpr const char* kBenchProgram = "hilbertring bench";
/// The benchmark of one problem as one JSON object, for --record.
std::string bench_record_json(const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures,
                              const std::optional<TimePredictions>& times);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "drivers/bench_ranks.h"
#include "drivers/text_table.h"
#include "ring/problem.h"

namespace hilbertring {

/// Where and how a benchmark took place.
struct BenchSetting {
  std::string transport;
  std::int64_t num_ranks = 1;
  int num_threads = 1;  ///< per rank
};

/// The middle value, or the mean of the two middle ones. `seconds` is not empty.
double median(std::vector<double> seconds);
/// The smallest value that 95 % of the values do not exceed (nearest rank): of fewer than 20 the largest.
double percentile_95(std::vector<double> seconds);
/// 1 - (ring - compute) / transfers, with the median of the rounds' differences and of their transfers: 1 if transfers cost nothing beside computing,
/// 0 if they cost all their own time, below 0 where ranks wait for each other besides. nullopt if nothing is sent, or if the differences scatter
/// (95th percentile beyond the median) by more than the transfers take.
std::optional<double> hidden_share(const PassFigures& figures);

/// The table's columns, and its two rows (forward, backward) for one problem; `pattern` is the name of the pattern.
TextTable bench_table();
void add_bench_rows(TextTable& table, const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures);
/// What the table was measured on.
std::string bench_heading(const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures);
/// The benchmark of one problem as one JSON object, for --record.
std::string bench_record_json(const std::string& pattern, const BenchTask& task, const BenchSetting& setting, const BenchFigures& figures);

}  // namespace hilbertring

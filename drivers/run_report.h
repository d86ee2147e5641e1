#pragma once

#include <string>
#include <utility>
#include <vector>

#include "drivers/run_ranks.h"
#include "ring/problem.h"

namespace hilbertring {

/// Where and how a run took place.
struct RunSetting {
  std::string case_path;
  std::string result_path;
  std::string transport;
  std::int64_t num_ranks = 1;
  int num_threads = 1;  ///< per rank
};

/// The table after a run: per pass time, pairs, rate and bytes beside the prediction; reading, writing, memory.
std::string report_text(const Problem& problem, const RunSetting& setting, const RunTotals& totals);
/// Attributes of the result file, name -> text.
std::vector<std::pair<std::string, std::string>> result_attributes(const Problem& problem, const RunSetting& setting, const RunTotals& totals);
/// The run as one JSON object, for --record.
std::string record_json(const Problem& problem, const RunSetting& setting, const RunTotals& totals);

/// Floating-point operations of an allowed pair: 4 D forward (two products), 10 D backward (five), multiplications and additions counted each.
double operations_per_pair(Pass pass, std::int64_t head_dim);
/// Of all of a pass's allowed pairs, in its time.
double operations_per_second(const PassTotals& totals, Pass pass, std::int64_t head_dim);

}  // namespace hilbertring

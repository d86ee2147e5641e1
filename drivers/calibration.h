#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "drivers/bench_ranks.h"
#include "ring/rates.h"

namespace hilbertring {

/// What is measured to find rates: problems of this size for each rank.
struct CalibrationSize {
  ElementType type = ElementType::kFloat32;
  std::int64_t heads = 8;
  std::int64_t head_dim = 64;
  std::int64_t tokens = 2048;  ///< of a rank, in the problems that time the folds

  /// Throws usage_error with the field, the value and the rule.
  void validate() const;
};

/// How often a problem is measured, beside those that take long.
struct Repetition {
  std::int64_t factor = 1;
  std::int64_t num_more_transfers = 0;  ///< BenchTask's
};
/// Measures a problem on so many ranks (with a gradient, results checked first); nullopt if a check missed.
using MeasureProblem = std::function<std::optional<BenchFigures>(const Problem& problem, std::int64_t num_ranks, const Repetition& repetition)>;

/// Problems with segments of each rank's own, so that all ranks fold at once and nothing moves: long and short ones, causal and dilated ones, and a
/// ring of shards so small that what a fold costs besides shows. Sets forward and backward. False if a check missed.
bool measure_folds(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure, Rates& rates);

/// What a ring of ranks tells of its messages.
struct MeasuredLink {
  LinkRates link;
  double overlap = 1;
};
/// Dense rings of small and of tiny shards: the difference of their transfers is bytes, what is left of the tiny one's is messages. On several ranks.
/// nullopt if a check missed.
std::optional<MeasuredLink> measure_link(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ring/fold_work.h"
#include "ring/rates.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Bytes that one rank sends and receives at the same time.
struct Exchange {
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;

  bool is_empty() const { return sent_bytes == 0 && received_bytes == 0; }
};

/// What one rank folds between two exchanges of a pass, and what moves (ring/ring_pass.h). Stage 0 folds its own rows before the visits, stage s
/// (1 <= s < P) the rows that visit in step s, stage P its own rows after the visits. A step that nobody needs is an empty stage.
struct Stage {
  AllowedPairs pairs;
  bool has_fold = false;
  Exchange operands;      ///< of the next step: they travel while this stage is folded
  Exchange accumulators;  ///< that change ranks (or come home) after the last stage's fold and before this one's
};
std::vector<Stage> stages_of(const Schedule& schedule, const FoldCounter& counter, Pass pass, Rank rank);

/// Times of one pass, predicted.
struct PassPrediction {
  double seconds = 0;  ///< of the slowest rank that was looked at
  Rank slowest;
  double compute_seconds = 0;   ///< of it, if nothing moved
  double transfer_seconds = 0;  ///< of it, if nothing was computed
  double pairs_per_rank = 0;    ///< mean of those looked at
  std::int64_t num_looked_at = 0;
  std::vector<double> stage_seconds = {};  ///< entry s: stage s on the rank where it takes longest, s = 0 .. P

  /// Of the transfers, what takes no time of its own; nullopt if nothing moves.
  std::optional<double> hidden_share() const;
};

/// Each stage takes the longer of its computing and its transfers, and `1 - overlap` of the shorter. What a pass costs row by row is put to the last.
/// A message of a slice is one of a group that starts together, so a stage waits `seconds_per_message` once for each slice and kind. Accumulators
/// wait for the fold: a pass in one slice stands still while they travel, two slices compute in turns meanwhile.
///
/// Stages are summed rank by rank, and the slowest rank is the pass's: ranks need not go in step, since a rank waits for the operands that others
/// have had all along, and not for their folds. (In the backward pass it waits for its neighbour's, a step behind: the sum of `stage_seconds` is the
/// time if all went in step.) Ranks at even distances are looked at, 64 at most. nullopt where the pairs can't be counted in time: sequence causality
/// on a curve over very many tokens. Throws usage_error if something moves and the rates have no link.
std::optional<PassPrediction> predict_time(const Schedule& schedule, Pass pass, const Rates& rates);

}  // namespace hilbertring

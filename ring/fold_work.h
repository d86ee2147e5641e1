#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/allowed_pairs.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Counts the allowed pairs that ranks fold (all heads and batch elements) stage by stage of a pass, by kind, without running. A pure function of the
/// schedule, which must outlive it.
///
/// Worked example: P = 2, N = 8, one head, dense, causal = position, contiguous, chunk = 2: rank 0 folds 10 cut pairs before the visits, nothing in
/// step 1 and nothing after; rank 1 folds 10 cut pairs before the visits and 16 whole pairs in step 1.
class FoldCounter {
 public:
  explicit FoldCounter(const Schedule& schedule);

  /// On the rank's own rows, before and after all visits. Sequence causality on a curve: their sum, halved.
  AllowedPairs before(Rank rank) const;
  AllowedPairs after(Rank rank) const;
  /// With the rows that visit in step s (1 <= s < P) of the pass.
  AllowedPairs visit(Pass pass, Rank visitor, std::int64_t step) const;
  /// In a whole forward pass: the rank's queries with all their keys. In far less time than the sum of the above.
  AllowedPairs whole_pass(Rank rank) const;

  /// Whether counting asks for sorted times: sequence causality on a curve.
  bool needs_times() const { return pattern_.causal() == Causal::kSequence; }
  /// Whether counting takes seconds at most: for `whole_pass` of every rank, or for `num_visits` visits.
  bool can_count_passes() const;
  bool can_count_visits(std::int64_t num_visits) const;

 private:
  AllowedPairs own(Rank rank) const;
  std::vector<Range<Position>> positions_of(Unit unit) const;
  AllowedPairs count(std::span<const Range<Position>> queries, std::span<const Range<Position>> keys) const;
  AllowedPairs count(Range<Position> queries, Range<Position> keys) const;

  const Schedule& schedule_;
  Pattern pattern_;
};

/// Allowed pairs that each rank folds in a forward pass. nullopt where counting would take too long: sequence causality on a curve over very many
/// tokens.
std::optional<std::vector<double>> work_per_rank(const Schedule& schedule);

/// At most `max_count` ranks, at even distances, the first and the last among them: for what would take too long to ask of every rank.
std::vector<Rank> ranks_at_even_distances(std::int64_t num_ranks, std::int64_t max_count);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hilbert/order.h"
#include "ring/leg.h"
#include "ring/needs.h"
#include "ring/placement.h"
#include "ring/problem.h"
#include "ring/rotation.h"
#include "ring/slice.h"

namespace hilbertring {

enum class Pass { kForward, kBackward };

/// Rows of one visit, summed over heads.
struct VisitRows {
  std::int64_t rows = 0;            ///< that visit
  std::int64_t from_neighbour = 0;  ///< of them, those that the neighbour had a step before (the others' accumulators come from the owner)
  std::int64_t to_neighbour = 0;    ///< of them, those that the next rank will have a step later (the others' accumulators go home)
};

/// Bytes of the messages that reach one rank in one step of one pass. Operands are read only and come straight from their owner. Accumulators
/// (backward) come from the neighbour that had the rows a step before, or else from the owner, and go home when the next rank does not need them.
struct StepTraffic {
  std::int64_t operand_bytes = 0;      ///< owner -> visitor
  std::int64_t accumulator_bytes = 0;  ///< neighbour or owner -> visitor
  std::int64_t homecoming_bytes = 0;   ///< visitor -> owner
  std::int64_t total() const { return operand_bytes + accumulator_bytes + homecoming_bytes; }
};

/// Who sends which rows to whom, in which step: a pure function of the problem, its orders and the number of ranks. No communication.
///
/// In step s (1 <= s < P) rank k is visited by the rows of rank k - s (kKvUp) or k + s (kQueryDown), mod P, but only by rows that some query (key)
/// there may need; a step that nobody needs does not happen. Worked example: P = 4, dense, causal = position, contiguous, kKvUp:
///   step 1: 0->1, 1->2, 2->3 (3->0: rank 0 needs nothing above itself);  step 2: 0->2, 1->3;  step 3: 0->3.
class Schedule {
 public:
  Schedule(const Problem& problem, Orders orders, std::int64_t num_ranks);
  Schedule(const Schedule&) = delete;
  Schedule& operator=(const Schedule&) = delete;

  const Problem& problem() const { return problem_; }
  const Pattern& pattern() const { return pattern_; }
  const Orders& orders() const { return orders_; }
  const ChunkPlacement& placement() const { return placement_; }
  const Needs& needs() const { return needs_; }
  std::int64_t num_ranks() const { return placement_.num_ranks(); }

  Rotation rotation(Pass pass) const { return pass == Pass::kForward ? Rotation::kKvUp : backward_rotation_; }
  /// The rank whose rows visit `visitor` in step s, and the rank that the rows of `owner` visit in step s.
  Rank owner_visiting(Rotation rotation, Rank visitor, std::int64_t step) const;
  Rank visited_by(Rotation rotation, Rank owner, std::int64_t step) const;

  /// How many rows (of all heads, one batch element) of `owner_visiting(...)` rank `visitor` meets in step s, and whence and whither their
  /// accumulators go.
  VisitRows visit_rows(Rotation rotation, Rank visitor, std::int64_t step) const;
  /// All visits that the rows of `owner` make: entry s - 1 is `visit_rows` of the rank visited in step s, found together in far less time.
  std::vector<VisitRows> journey(Rotation rotation, Rank owner) const;
  /// Messages that reach `visitor` in step s of the pass, and those it sends home.
  StepTraffic traffic(Pass pass, Rank visitor, std::int64_t step) const;
  /// All bytes that all ranks send in the pass.
  std::int64_t total_bytes(Pass pass) const;
  /// What a ring that passes whole shards all the way round would send in the pass (to compare with).
  std::int64_t dense_ring_bytes(Pass pass) const;
  /// Bytes that rank k sends in the pass: what its transport must have counted afterwards.
  std::int64_t sent_bytes(Pass pass, Rank k) const { return sent_bytes(pass, k, leg({})); }
  /// The same of a leg of it: rows that its steps need travel anew.
  std::int64_t sent_bytes(Pass pass, Rank k, const Leg& leg) const;

  /// Lags are 0, 1, ..., num_lags() - 1.
  std::int64_t num_lags() const { return placement_.num_units(); }
  Leg leg(LagRange lags) const;

  /// The problem in slices that go round the ring one behind the other, so that the accumulators of one travel while another is computed: each is a
  /// schedule of its own, for its part of batch or heads, whose rotations are the whole's. One rank alone has one slice, the whole.
  std::int64_t num_slices() const { return slices_.empty() ? 1 : static_cast<std::int64_t>(slices_.size()); }
  const Schedule& slice(std::int64_t index) const { return slices_.empty() ? *this : *slices_[static_cast<std::size_t>(index)]; }
  /// Of a slice in the whole.
  const Slice& extent() const { return extent_; }

  /// The pairs that a rank folds on its own rows before (`below`: KV unit <= query unit) and after (`above`) all visits, and during the visit of
  /// another rank's rows (kKvUp: keys of `owner`, kQueryDown: queries of `owner`). Pairs that the pattern leaves empty are not listed. In the order
  /// of the fold law; of some lags only, if they are given.
  std::vector<ChunkPair> own_pairs_below(Rank k, LagRange lags = {}) const;
  std::vector<ChunkPair> own_pairs_above(Rank k, LagRange lags = {}) const;
  std::vector<ChunkPair> visit_pairs(Rotation rotation, Rank visitor, Rank owner, LagRange lags = {}) const;

  /// Table of the steps that happen, with what each rank receives (up to 8 ranks); at most `max_lines` lines, the middle left out. `stage_seconds`,
  /// if any, are PassPrediction's: the predicted time of step s is entry s.
  std::string to_text(Pass pass, std::int64_t max_lines, std::span<const double> stage_seconds = {}) const;

 private:
  /// Sums over all ranks, step by step (entry s - 1).
  struct StepRows {
    std::int64_t num_visits = 0;
    VisitRows total;
    std::int64_t max_rows = 0;  ///< of one visitor
  };
  using Sweep = std::vector<StepRows>;

  /// A slice; it knows no sums over all ranks.
  Schedule(const Schedule& whole, const Slice& extent);
  void choose_backward_rotation();
  Sweep sweep(Rotation rotation) const;
  static void add_journey(const std::vector<VisitRows>& visits, Sweep& steps);
  const Sweep& steps(Rotation rotation) const { return rotation == Rotation::kKvUp ? kv_steps_ : query_steps_; }
  StepTraffic bytes_of(Pass pass, Rotation rotation, const VisitRows& rows) const;
  std::int64_t total_bytes(Pass pass, Rotation rotation) const;
  std::string step_line(Pass pass, std::int64_t step, bool shows_ranks, std::span<const double> stage_seconds) const;
  std::int64_t lag(Unit queries, Unit keys) const;
  bool has_lag(Rank queries, Rank keys, LagRange lags) const;
  bool is_step_of(std::int64_t step, LagRange lags) const;
  void append_pairs(Rank query_rank, Chunk queries, Rank key_rank, Unit keys, std::vector<ChunkPair>& pairs) const;

  Problem problem_;
  Orders orders_;
  Pattern pattern_;
  ChunkPlacement placement_;
  Needs needs_;
  Sweep kv_steps_, query_steps_;
  Rotation backward_rotation_ = Rotation::kKvUp;
  Slice extent_;
  std::vector<std::unique_ptr<const Schedule>> slices_;
};

/// Bytes of one row of one head that travels: operands (forward: k, v; backward: k, v or q, do, lse, delta) and accumulators (dk, dv or dq).
std::int64_t operand_row_bytes(const Problem& problem, Pass pass, Rotation rotation);
std::int64_t accumulator_row_bytes(const Problem& problem, Rotation rotation);

}  // namespace hilbertring

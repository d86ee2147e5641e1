#include "drivers/work.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/random.h"

namespace hilbertring {
namespace {

Problem problem_with(Causal causal, Curve curve, Placement placement) {
  Problem problem{.shape = {.batch = 2, .tokens = 100, .heads = 4, .kv_heads = 2, .head_dim = 8}, .specification = {}};
  problem.specification.segment_lengths = {20, 60};
  problem.specification.dilation_rates = {1, 3};
  problem.specification.offset = Offset::kHeadMod;
  problem.specification.causal = causal;
  problem.specification.curve = curve;
  problem.specification.placement = placement;
  problem.specification.chunk = 10;
  return problem;
}

/// Pair by pair, head by head.
double count_one_by_one(const Schedule& schedule, Rank rank) {
  const Pattern& pattern = schedule.pattern();
  const Shape& shape = schedule.problem().shape;
  double count = 0;
  const auto add_query = [&](std::int64_t branch, std::int64_t head, Position query) {
    for (Position key(0); key < Position(shape.tokens); ++key) {
      const bool by_sequence = pattern.causal() == Causal::kSequence;
      const std::int64_t query_time = by_sequence ? schedule.orders().queries->sequence_index(query).value : query.value;
      const std::int64_t key_time = by_sequence ? schedule.orders().keys->sequence_index(key).value : key.value;
      const bool is_in_time = !pattern.is_causal() || Pattern::causality_allows(query_time, key_time);
      count += pattern.branch(branch).allows(head, query, key) && is_in_time ? 1 : 0;
    }
  };
  for (const Range<Position> span : schedule.placement().spans(rank)) {
    for (Position query = span.begin; query < span.end; ++query) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        for (std::int64_t branch = 0; branch < pattern.num_branches(); ++branch) {
          if (pattern.branch(branch).has_head(head)) add_query(branch, head, query);
        }
      }
    }
  }
  return count * static_cast<double>(shape.batch);
}

TEST(Work, EqualsCountingPairByPair) {
  for (const Causal causal : {Causal::kNone, Causal::kSequence, Causal::kPosition}) {
    for (const Curve curve : {Curve::kIdentity, Curve::kHilbert}) {
      for (const Placement placement : {Placement::kContiguous, Placement::kZigzag}) {
        const Problem problem = problem_with(causal, curve, placement);
        const Schedule schedule(problem, make_orders(problem.specification, problem.shape.tokens), 3);

        const auto work = work_per_rank(schedule);

        ASSERT_TRUE(work.has_value());
        for (Rank rank(0); rank < Rank(3); ++rank) {
          EXPECT_EQ((*work)[static_cast<std::size_t>(rank.value)], count_one_by_one(schedule, rank)) << to_json(problem.specification);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hilbertring

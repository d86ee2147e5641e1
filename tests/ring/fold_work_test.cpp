#include "ring/fold_work.h"

#include <gtest/gtest.h>

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

TEST(FoldWork, OfAWholePassEqualsCountingPairByPair) {
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

/// Of a pass, all ranks and stages.
AllowedPairs sum_over_stages(const Schedule& schedule, Pass pass) {
  const FoldCounter counter(schedule);
  AllowedPairs sum;
  for (Rank rank(0); rank < Rank(schedule.num_ranks()); ++rank) {
    sum += counter.before(rank);
    for (std::int64_t step = 1; step < schedule.num_ranks(); ++step) sum += counter.visit(pass, rank, step);
    sum += counter.after(rank);
  }
  return sum;
}

TEST(FoldWork, StagesOfAllRanksSumToThePatternsPairs) {
  for (const Causal causal : {Causal::kNone, Causal::kSequence, Causal::kPosition}) {
    for (const Placement placement : {Placement::kContiguous, Placement::kZigzag}) {
      for (const std::int64_t num_ranks : {1, 2, 3, 5}) {
        Problem problem = problem_with(causal, Curve::kHilbert, placement);
        problem.with_gradient = true;
        const Schedule schedule(problem, make_orders(problem.specification, problem.shape.tokens), num_ranks);
        double expected = 0;
        for (Rank rank(0); rank < Rank(num_ranks); ++rank) expected += count_one_by_one(schedule, rank);
        SCOPED_TRACE(to_json(problem.specification) + " on " + std::to_string(num_ranks));

        for (const Pass pass : {Pass::kForward, Pass::kBackward}) EXPECT_EQ(static_cast<double>(sum_over_stages(schedule, pass).total()), expected);
      }
    }
  }
}

TEST(FoldWork, TellsKindsOfBlocksApart) {
  Problem problem{.shape = {.batch = 1, .tokens = 8, .heads = 1, .kv_heads = 1, .head_dim = 8}, .specification = {}};
  problem.specification.segment_lengths = {8, 4};
  problem.specification.dilation_rates = {1, 2};
  problem.specification.causal = Causal::kPosition;
  problem.specification.curve = Curve::kIdentity;
  problem.specification.chunk = 2;
  const Schedule schedule(problem, make_orders(problem.specification, 8), 2);

  const FoldCounter counter(schedule);

  // Positions 0 and 2 of the second branch's segment make 3 pairs.
  EXPECT_EQ(counter.before(Rank(1)), (AllowedPairs{.whole = 0, .cut = 10, .dilated = 3}));
  EXPECT_EQ(counter.visit(Pass::kForward, Rank(1), 1), (AllowedPairs{.whole = 16, .cut = 0, .dilated = 0}));
  EXPECT_EQ(counter.visit(Pass::kForward, Rank(0), 1), AllowedPairs{});
  EXPECT_EQ(counter.after(Rank(1)), AllowedPairs{});
}

TEST(FoldWork, RanksLookedAtReachFromTheFirstToTheLast) {
  EXPECT_EQ(ranks_at_even_distances(1, 4), std::vector{Rank(0)});
  EXPECT_EQ(ranks_at_even_distances(3, 4), (std::vector{Rank(0), Rank(1), Rank(2)}));
  EXPECT_EQ(ranks_at_even_distances(4096, 4), (std::vector{Rank(0), Rank(1365), Rank(2730), Rank(4095)}));
}

}  // namespace
}  // namespace hilbertring

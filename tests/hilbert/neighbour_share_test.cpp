#include "hilbert/neighbour_share.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "hilbert/grid.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {
namespace {

constexpr Shape shape_of(std::int64_t tokens, std::int64_t heads = 1) {
  return {.batch = 1, .tokens = tokens, .heads = heads, .kv_heads = 1, .head_dim = 8};
}

std::optional<NeighbourShare> share_of(const Specification& specification, const Shape& shape) {
  return neighbour_share(specification, Pattern(specification, shape), make_orders(specification, shape.tokens));
}

Specification windows(Curve curve, std::int64_t window, std::vector<std::int64_t> grid, std::int64_t curve_chunk = 0) {
  Specification specification = curve_specification(curve, std::move(grid), curve_chunk);
  specification.segment_lengths = {window};
  specification.dilation_rates = {1};
  return specification;
}

TEST(NeighbourShare, OfSegmentsWrittenOutByHand) {
  // 4 x 4 cells have 24 pairs of neighbours. A segment of 4 is a row (3 pairs) in sequence order, a quarter of 2 x 2 cells (4 pairs) on the curve.
  EXPECT_DOUBLE_EQ(share_of(windows(Curve::kIdentity, 4, {4, 4}), shape_of(16))->share, 12 / 24.0);
  EXPECT_DOUBLE_EQ(share_of(windows(Curve::kHilbert, 4, {4, 4}), shape_of(16))->share, 16 / 24.0);
  EXPECT_DOUBLE_EQ(share_of(windows(Curve::kHilbert, 16, {4, 4}), shape_of(16))->share, 1.0);
  EXPECT_FALSE(share_of(windows(Curve::kHilbert, 16, {4, 4}), shape_of(16))->is_sampled);
}

TEST(NeighbourShare, CausalityLeavesOneOfTwoNeighbours) {
  for (const Causal causal : {Causal::kSequence, Causal::kPosition}) {
    Specification specification = windows(Curve::kHilbert, 16, {4, 4});
    specification.causal = causal;
    EXPECT_DOUBLE_EQ(share_of(specification, shape_of(16))->share, 0.5);
  }
}

TEST(NeighbourShare, CountsHeadsEachWithItsBranchesAndOffset) {
  Specification specification = windows(Curve::kIdentity, 4, {4, 4});
  specification.segment_lengths = {4, 8};
  specification.dilation_rates = {1, 2};
  specification.branch_heads = BranchHeads::kSplit;
  specification.dilate = Dilate::kKv;

  // Head 0: the 12 pairs within rows, both ways. Head 1, segments of two rows, keys in even columns: in each of 2 segments 2 columns, both ways; in
  // each of 4 rows one way of its 3 pairs.
  const double ordered_pairs_of_two_heads = 2 * 48;
  EXPECT_DOUBLE_EQ(share_of(specification, shape_of(16, 2))->share, (24 + (2 * 2 * 2 + 4 * 3)) / ordered_pairs_of_two_heads);
}

TEST(NeighbourShare, EqualsLookingAtEveryPairOfTokens) {
  for (const std::int64_t run : {0, 40}) {
    Specification specification = windows(Curve::kHilbert, 10, run == 0 ? std::vector<std::int64_t>{3, 5, 7} : std::vector<std::int64_t>{5, 9}, run);
    specification.curve_on = CurveOn::kKv;
    const std::int64_t num_tokens = 100, length = run == 0 ? num_tokens : run;
    const Grid grid(specification.grid, length);
    const Orders orders = make_orders(specification, num_tokens);
    double seen = 0, all = 0;
    for (std::int64_t q = 0; q < num_tokens; ++q) {
      for (std::int64_t k = 0; k < num_tokens; ++k) {
        if (q / length != k / length || manhattan_distance(grid.cell(q % length), grid.cell(k % length)) != 1) continue;
        all += 1;
        seen += orders.queries->position(SequenceIndex(q)).value / 10 == orders.keys->position(SequenceIndex(k)).value / 10 ? 1 : 0;
      }
    }
    ASSERT_GT(seen, 0);

    EXPECT_DOUBLE_EQ(share_of(specification, shape_of(num_tokens))->share, seen / all) << "runs of " << run;
  }
}

TEST(NeighbourShare, OfManyTokensIsSampled) {
  // In windows of one row of 1024 cells: all neighbours in the row, none above and below.
  const auto share = share_of(windows(Curve::kIdentity, 1024, {1024, 1024}), shape_of(1 << 20));

  EXPECT_TRUE(share->is_sampled);
  EXPECT_NEAR(share->share, 0.5, 0.001);
}

TEST(NeighbourShare, OfOneTokenIsNone) { EXPECT_FALSE(share_of(windows(Curve::kHilbert, 1, {1, 1}), shape_of(1)).has_value()); }

}  // namespace
}  // namespace hilbertring::testing

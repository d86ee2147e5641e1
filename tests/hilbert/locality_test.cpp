#include "hilbert/locality.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "core/error.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {
namespace {

const CurveLocality& curve_named(const Locality& locality, const std::string& name) {
  for (const CurveLocality& curve : locality.curves) {
    if (curve.name == name) return curve;
  }
  throw failure("no curve " + name);
}

/// Pairs of tiles by looking at every pair of tokens of a grid of `cols` columns.
double brute_force_tile_pairs(const std::vector<std::int64_t>& order, std::int64_t cols, const LocalityOptions& options) {
  std::set<std::pair<std::int64_t, std::int64_t>> pairs;
  const auto num_tokens = static_cast<std::int64_t>(order.size());
  for (std::int64_t p = 0; p < num_tokens; ++p) {
    for (std::int64_t other = 0; other < num_tokens; ++other) {
      const std::int64_t a = order[static_cast<std::size_t>(p)], b = order[static_cast<std::size_t>(other)];
      if (std::abs(a / cols - b / cols) > options.radius || std::abs(a % cols - b % cols) > options.radius) continue;
      pairs.insert({p / options.tile, other / options.tile});
    }
  }
  return static_cast<double>(pairs.size());
}

TEST(Locality, OfRowsWrittenOutByHand) {
  // 4 x 4 in sequence order: a gap of 1 is a step right, or from the end of a row to the start of the next (3 + 1 cells).
  const Locality locality = measure_locality(curve_specification(Curve::kHilbert, {4, 4}), 16, {.gaps = {1, 4}, .tile = 4, .radius = 1});

  const CurveLocality& identity = curve_named(locality, "identity");
  EXPECT_DOUBLE_EQ(identity.gap_distances[0].mean, (12 * 1 + 3 * 4) / 15.0);
  EXPECT_EQ(identity.gap_distances[0].worst, 4);
  EXPECT_DOUBLE_EQ(identity.gap_distances[1].mean, 1.0);
  EXPECT_DOUBLE_EQ(identity.neighbour_distance.mean, (12 * 1 + 12 * 4) / 24.0);
  EXPECT_EQ(identity.neighbour_distance.worst, 4);
  // A tile is a row; each touches itself and the rows beside it.
  EXPECT_DOUBLE_EQ(identity.tile_pairs, 10.0);
  EXPECT_DOUBLE_EQ(locality.ideal_tile_pairs, 10.0 * 10.0 / 16.0);
}

TEST(Locality, TilePairsEqualBruteForce) {
  const LocalityOptions options{.gaps = {1}, .tile = 7, .radius = 2};

  const Locality locality = measure_locality(curve_specification(Curve::kHilbert, {11, 9}), 95, options);

  for (const auto& [name, curve] :
       {std::pair{"identity", Curve::kIdentity}, {"snake", Curve::kSnake}, {"morton", Curve::kMorton}, {"hilbert", Curve::kHilbert}}) {
    const std::vector<std::int64_t> order = filled(*curve_order(curve, 95, {11, 9}));
    EXPECT_DOUBLE_EQ(curve_named(locality, name).tile_pairs, brute_force_tile_pairs(order, 9, options)) << name;
  }
}

TEST(Locality, HilbertIsNearestOnAPicture) {
  const Locality locality = measure_locality(curve_specification(Curve::kHilbert), 128 * 128);

  const CurveLocality& hilbert = curve_named(locality, "hilbert");
  EXPECT_FALSE(locality.is_sampled);
  EXPECT_EQ(hilbert.gap_distances[0].worst, 1);
  // Tiles of 64 are blocks of 8 x 8 in Z-order as on the Hilbert curve.
  EXPECT_EQ(hilbert.tile_pairs, curve_named(locality, "morton").tile_pairs);
  EXPECT_LT(2 * hilbert.tile_pairs, curve_named(locality, "snake").tile_pairs);
  for (const char* other : {"identity", "snake", "morton"}) {
    EXPECT_LE(hilbert.tile_pairs, curve_named(locality, other).tile_pairs) << other;
    EXPECT_LT(hilbert.gap_distances[1].mean, curve_named(locality, other).gap_distances[1].mean) << other;
  }
}

TEST(Locality, OfRunsIsThatOfTheFirstRun) {
  const Locality of_runs = measure_locality(curve_specification(Curve::kHilbert, {}, 300), 1000);
  const Locality of_one = measure_locality(curve_specification(Curve::kHilbert), 300);

  EXPECT_EQ(of_runs.to_text(), of_one.to_text());
}

TEST(Locality, OfAFileIsMeasuredToo) {
  const auto table = std::make_shared<std::vector<std::int64_t>>(filled(*curve_order(Curve::kMorton, 500)));

  const Locality locality = measure_locality(curve_specification(Curve::kFile), 500, {}, table);

  EXPECT_DOUBLE_EQ(curve_named(locality, "file").tile_pairs, curve_named(locality, "morton").tile_pairs);
}

TEST(Locality, OfABillionTokensIsSampledAndSaysSo) {
  const Locality locality = measure_locality(curve_specification(Curve::kHilbert), 1'000'000'000);

  EXPECT_TRUE(locality.is_sampled);
  EXPECT_NE(locality.to_text().find(", sampled"), std::string::npos);
  EXPECT_LT(curve_named(locality, "hilbert").tile_pairs, curve_named(locality, "identity").tile_pairs);
}

TEST(Locality, TextNamesEveryOrder) {
  const std::string text = measure_locality(curve_specification(Curve::kHilbert, {3, 4, 5}), 60).to_text();

  for (const char* name : {"identity", "snake", "morton", "hilbert", "3 x 4 x 5", "gap 16"}) EXPECT_NE(text.find(name), std::string::npos) << name;
}

TEST(Locality, RejectsOptionsThatCannotBe) {
  const Specification specification = curve_specification(Curve::kHilbert);

  EXPECT_THROW(measure_locality(specification, 100, {.gaps = {0}}), Error);
  EXPECT_THROW(measure_locality(specification, 100, {.tile = 0}), Error);
  EXPECT_THROW(measure_locality(specification, 100, {.radius = -1}), Error);
}

}  // namespace
}  // namespace hilbertring::testing

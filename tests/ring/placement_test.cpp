#include "ring/placement.h"

#include <gtest/gtest.h>

namespace hilbertring {
namespace {

struct Case {
  std::int64_t tokens, chunk, ranks;
  Placement placement;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Placement placement : {Placement::kContiguous, Placement::kZigzag}) {
    for (std::int64_t tokens = 1; tokens <= 40; ++tokens) {
      for (std::int64_t chunk = 1; chunk <= 7; ++chunk) {
        const std::int64_t units = ChunkPlacement(tokens, chunk, placement, 1).num_units();
        for (std::int64_t ranks = 1; ranks <= units; ++ranks) cases.push_back({tokens, chunk, ranks, placement});
      }
    }
  }
  return cases;
}

TEST(ChunkPlacement, EveryPositionHasExactlyOneRow) {
  for (const Case& c : all_cases()) {
    const ChunkPlacement placement(c.tokens, c.chunk, c.placement, c.ranks);
    std::vector<int> seen(static_cast<std::size_t>(c.tokens), 0);

    std::int64_t rows = 0;
    for (Rank k(0); k.value < c.ranks; ++k) {
      rows += placement.num_rows(k);
      for (const Range<Position>& span : placement.spans(k)) {
        for (Position p = span.begin; p < span.end; ++p) ++seen[static_cast<std::size_t>(p.value)];
      }
    }

    ASSERT_EQ(rows, c.tokens);
    ASSERT_EQ(std::count(seen.begin(), seen.end(), 1), c.tokens) << c.tokens << " tokens, chunk " << c.chunk << ", " << c.ranks << " ranks";
  }
}

TEST(ChunkPlacement, ChunksOfUnitsLieInTheirRanksRowsInOrder) {
  for (const Case& c : all_cases()) {
    const ChunkPlacement placement(c.tokens, c.chunk, c.placement, c.ranks);
    for (Rank k(0); k.value < c.ranks; ++k) {
      std::vector<int> used(static_cast<std::size_t>(placement.num_rows(k)), 0);

      for (Unit u = placement.units(k).begin; u < placement.units(k).end; ++u) {
        ASSERT_EQ(placement.owner(u), k);
        for (const Chunk chunk : placement.chunks(u)) {
          const ChunkRows rows = placement.rows(k, chunk);
          for (std::int64_t i = 0; i < rows.positions.size(); ++i) ++used[static_cast<std::size_t>(rows.first_row.value + i)];
        }
      }

      ASSERT_EQ(std::count(used.begin(), used.end(), 1), placement.num_rows(k));
    }
  }
}

TEST(ChunkPlacement, RanksHoldAsManyUnitsAsEqualAsPossible) {
  for (const Case& c : all_cases()) {
    const ChunkPlacement placement(c.tokens, c.chunk, c.placement, c.ranks);
    for (Rank k(0); k.value < c.ranks; ++k) {
      const std::int64_t least = placement.num_units() / c.ranks;
      ASSERT_GE(placement.units(k).size(), std::max<std::int64_t>(1, least));
      ASSERT_LE(placement.units(k).size(), least + 1);
    }
  }
}

TEST(ChunkPlacement, ZigzagPairsTheFirstChunkWithTheLast) {
  const ChunkPlacement placement(12, 2, Placement::kZigzag, 2);

  EXPECT_EQ(placement.num_units(), 3);
  EXPECT_EQ(placement.chunks(Unit(0)), (std::vector{Chunk(0), Chunk(5)}));
  EXPECT_EQ(placement.spans(Rank(0)), (std::vector<Range<Position>>{{Position(0), Position(4)}, {Position(8), Position(12)}}));
  EXPECT_EQ(placement.spans(Rank(1)), (std::vector<Range<Position>>{{Position(4), Position(8)}}));
}

}  // namespace
}  // namespace hilbertring

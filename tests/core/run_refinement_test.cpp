#include "core/cuda/run_refinement.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "random_specification.h"

namespace hilbertring {
namespace {

using Runs = std::vector<Run>;  // in a test Run is a member of GoogleTest's

/// Which runs each position lies in.
std::map<std::int64_t, std::uint64_t> members_by_definition(const Runs& runs) {
  std::map<std::int64_t, std::uint64_t> members;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (std::int64_t j = 0; j < runs[i].count; ++j) members[runs[i][j].value] |= std::uint64_t{1} << i;
  }
  return members;
}

TEST(RefineRuns, PiecesAreDisjointAndKnowWhichRunsTheyLieIn) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Draw draw(seed);
    Runs runs;
    for (std::int64_t i = draw.between(1, 6); i > 0; --i) {
      runs.push_back({.first = Position(draw.between(0, 60)), .stride = std::int64_t{1} << draw.between(0, 4), .count = draw.between(1, 40)});
    }

    const auto pieces = refine_runs(runs);

    ASSERT_TRUE(pieces.has_value());
    std::map<std::int64_t, std::uint64_t> members;
    for (const RefinedRun& piece : *pieces) {
      for (std::int64_t j = 0; j < piece.run.count; ++j) ASSERT_TRUE(members.emplace(piece.run[j].value, piece.members).second) << "seed " << seed;
    }
    EXPECT_EQ(members, members_by_definition(runs)) << "seed " << seed;
  }
}

TEST(RefineRuns, RunsThatBeginBesideEachOtherLeaveNoSlivers) {
  // A segment of 2048 positions, dilated by 1, 4 and 16 with offset 3.
  const Runs runs = {{Position(2048), 1, 2048}, {Position(2051), 4, 512}, {Position(2051), 16, 128}};

  const auto pieces = refine_runs(runs);

  ASSERT_TRUE(pieces.has_value());
  EXPECT_EQ(pieces->size(), 5U) << "0 modulo 2 and 1 modulo 4; 7 modulo 8 and 11 modulo 16; 3 modulo 16";
  for (const RefinedRun& piece : *pieces) EXPECT_GE(piece.run.count, 128);
}

TEST(RefineRuns, StridesWithoutASmallMultipleAreLeftAlone) {
  EXPECT_FALSE(refine_runs(Runs{{Position(0), 7, 10}, {Position(0), 11, 10}}).has_value());
}

}  // namespace
}  // namespace hilbertring

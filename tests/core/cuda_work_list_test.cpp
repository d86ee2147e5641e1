// The list that the GPU works through, walked on the host: no GPU needed.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "attention_case.h"
#include "band_branch.h"
#include "core/cuda/work_list.h"
#include "random_specification.h"

namespace hilbertring {
namespace {

constexpr TileRows kTileRows{.own = 32, .other = 16};

/// What an own row (head, position) meets: (head of the query, position), in order. Multiplicities show as repeats.
using Visits = std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::pair<std::int64_t, std::int64_t>>>;

bool mask_allows(const WorkList& list, const Meeting& meeting, std::int64_t query, std::int64_t key) {
  if (meeting.first_word < 0) return true;
  const std::int64_t word = meeting.first_word + query * meeting.words_per_row + key / 32;
  return (list.mask_words[static_cast<std::size_t>(word)] >> (key % 32) & 1U) != 0;
}

/// Batch element 0 of all launches, one after the other, without causality.
Visits walk_list(const WorkList& list, Owner owner, std::int64_t heads_per_kv_head) {
  Visits visits;
  for (const WorkTile& tile : list.tiles) {
    if (tile.batch != 0) continue;
    const OwnRun& own = list.own_runs[static_cast<std::size_t>(tile.own_run)];
    for (std::int32_t i = tile.tile * kTileRows.own; i < std::min((tile.tile + 1) * kTileRows.own, own.rows.count); ++i) {
      auto& seen = visits[{tile.head, own.rows.first_position + i * own.rows.stride}];
      for (std::int32_t m = own.first_meeting; m < own.end_meeting; ++m) {
        const Meeting& meeting = list.meetings[static_cast<std::size_t>(m)];
        const std::int64_t head = owner == Owner::kQueries ? tile.head : tile.head * heads_per_kv_head + meeting.head_offset;
        for (std::int32_t j = 0; j < meeting.rows.count; ++j) {
          const bool allowed = owner == Owner::kQueries ? mask_allows(list, meeting, i, j) : mask_allows(list, meeting, j, i);
          if (allowed) seen.emplace_back(head, meeting.rows.first_position + j * meeting.rows.stride);
        }
      }
    }
  }
  return visits;
}

/// The same by definition: pairs in order, of each its branches, the heads of a group, the other positions ascending.
Visits visits_by_definition(const Pattern& pattern, const std::vector<ChunkPair>& pairs, Owner owner) {
  const std::int64_t group = pattern.shape().heads_per_kv_head();
  Visits visits;
  for (const ChunkPair& pair : pairs) {
    for (std::int64_t b = 0; b < pattern.num_branches(); ++b) {
      for (std::int64_t head = 0; head < pattern.shape().heads; ++head) {
        if (!pattern.branch(b).has_head(head)) continue;
        for (Position q = pair.queries.positions.begin; q < pair.queries.positions.end; ++q) {
          for (Position k = pair.keys.positions.begin; k < pair.keys.positions.end; ++k) {
            if (!pattern.branch(b).allows(head, q, k)) continue;
            if (owner == Owner::kQueries) {
              visits[{head, q.value}].emplace_back(head, k.value);
            } else {
              visits[{head / group, k.value}].emplace_back(head, q.value);
            }
          }
        }
      }
    }
  }
  return visits;
}

void erase_empty(Visits& visits) {
  std::erase_if(visits, [](const auto& entry) { return entry.second.empty(); });
}

class RandomWorkList : public testing::TestWithParam<std::uint64_t> {};

TEST_P(RandomWorkList, FoldsEveryPairInTheOrderOfTheLaw) {
  Draw draw(GetParam());
  const Shape shape = draw_shape(draw, 120);
  Specification specification = draw_specification(draw, shape);
  specification.causal = Causal::kNone;
  const Pattern pattern(specification, shape);
  const std::vector<ChunkPair> pairs = ring_pairs(shape.tokens, draw.between(1, shape.tokens));
  for (const Owner owner : {Owner::kQueries, Owner::kKeys}) {
    const WorkList list = make_work_list(pattern, pairs, owner, kTileRows);

    Visits visits = walk_list(list, owner, shape.heads_per_kv_head());
    erase_empty(visits);

    EXPECT_TRUE(visits == visits_by_definition(pattern, pairs, owner)) << to_string(shape) << " " << to_json(specification);
  }
}

TEST_P(RandomWorkList, TilesOfALaunchShareNoRows) {
  Draw draw(GetParam());
  const Shape shape = draw_shape(draw, 200);
  const Pattern pattern(draw_specification(draw, shape), shape);
  const std::vector<ChunkPair> pairs = ring_pairs(shape.tokens, draw.between(1, shape.tokens));
  for (const Owner owner : {Owner::kQueries, Owner::kKeys}) {
    const WorkList list = make_work_list(pattern, pairs, owner, kTileRows);

    std::int64_t begin = 0;
    for (const std::int64_t end : list.launch_ends) {
      std::set<std::tuple<std::int32_t, std::int32_t, std::int64_t>> rows;
      for (std::int64_t t = begin; t < end; ++t) {
        const WorkTile& tile = list.tiles[static_cast<std::size_t>(t)];
        const RowRun& own = list.own_runs[static_cast<std::size_t>(tile.own_run)].rows;
        for (std::int32_t i = tile.tile * kTileRows.own; i < std::min((tile.tile + 1) * kTileRows.own, own.count); ++i) {
          ASSERT_TRUE(rows.emplace(tile.batch, tile.head, own.first_row + i * own.stride).second) << to_string(shape);
        }
      }
      begin = end;
    }
    EXPECT_EQ(begin, std::ssize(list.tiles));
  }
}

TEST_P(RandomWorkList, CountsTheAllowedPairs) {
  Draw draw(GetParam());
  const Shape shape = draw_shape(draw, 150);
  Specification specification = draw_specification(draw, shape);
  if (specification.causal == Causal::kSequence) specification.causal = Causal::kPosition;
  const Pattern pattern(specification, shape);
  const Range<Position> all{Position(0), Position(shape.tokens)};

  const WorkList list = make_work_list(pattern, ring_pairs(shape.tokens, draw.between(1, shape.tokens)), Owner::kQueries, kTileRows);

  EXPECT_EQ(list.num_allowed_pairs, count_allowed_pairs(pattern, all, all, {}, {}) * shape.batch);
}

TEST_P(RandomWorkList, EveryRunKnowsItsStride) {
  Draw draw(GetParam());
  const Shape shape = draw_shape(draw, 120);
  const Pattern pattern(draw_specification(draw, shape), shape);

  const WorkList list = make_work_list(pattern, ring_pairs(shape.tokens, draw.between(1, shape.tokens)), Owner::kKeys, kTileRows);

  const auto stride_of = [&](const RowRun& rows) { return list.strides.at(static_cast<std::size_t>(rows.stride_index)); };
  for (const OwnRun& own : list.own_runs) EXPECT_EQ(stride_of(own.rows), own.rows.stride);
  for (const Meeting& meeting : list.meetings) EXPECT_EQ(stride_of(meeting.rows), meeting.rows.stride);
  EXPECT_EQ(std::set<std::int64_t>(list.strides.begin(), list.strides.end()).size(), list.strides.size());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomWorkList, testing::Range<std::uint64_t>(0, 60));

TEST(WorkList, AsksBranchesAboutBlocksThatAreNotFull) {
  const Shape shape{.batch = 1, .tokens = 150, .heads = 3, .kv_heads = 1, .head_dim = 8};
  std::vector<std::unique_ptr<const Branch>> branches;
  branches.push_back(std::make_unique<Band>(20, shape.tokens));
  const Pattern pattern(shape, Causal::kNone, std::move(branches));
  const std::vector<ChunkPair> pairs = ring_pairs(shape.tokens, 70);
  for (const Owner owner : {Owner::kQueries, Owner::kKeys}) {
    Visits visits = walk_list(make_work_list(pattern, pairs, owner, kTileRows), owner, 3);
    erase_empty(visits);

    EXPECT_TRUE(visits == visits_by_definition(pattern, pairs, owner));
  }
}

TEST(WorkList, TakesDensePairsInOneLaunch) {
  const Shape shape{.batch = 2, .tokens = 300, .heads = 4, .kv_heads = 2, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {300}, .dilation_rates = {1}}, shape);

  const WorkList list = make_work_list(pattern, ring_pairs(300, 100), Owner::kQueries, kTileRows);

  EXPECT_EQ(list.launch_ends.size(), 1U);
  EXPECT_EQ(list.tiles.size(), 2U * 4 * 3 * 4);
}

TEST(WorkList, TakesBranchesWithOverlappingRowsInOneLaunch) {
  const Shape shape{.batch = 1, .tokens = 2048, .heads = 4, .kv_heads = 4, .head_dim = 8};
  Specification specification{.segment_lengths = {512, 1024, 2048}, .dilation_rates = {1, 2, 4}};
  specification.offset = Offset::kHeadMod;
  const Pattern pattern(specification, shape);
  for (const Owner owner : {Owner::kQueries, Owner::kKeys}) {
    const WorkList list = make_work_list(pattern, ring_pairs(2048, 512), owner, kTileRows);

    EXPECT_EQ(list.launch_ends.size(), 1U);
    EXPECT_EQ(list.tiles.size(), 4U * 2048 / 32) << "no tile is cut short";
  }
}

}  // namespace
}  // namespace hilbertring

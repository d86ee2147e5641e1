// How the GPU's backward pass is cut into panels and rounds: on the host, no GPU needed.
#include "core/cuda/backward_panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "attention_case.h"

namespace hilbertring {
namespace {

constexpr std::int64_t kTileRows = 128;
constexpr std::int64_t kMegabyte = std::int64_t{1} << 20;

Pattern dense(std::int64_t tokens, Causal causal, std::int64_t heads = 4, std::int64_t kv_heads = 2) {
  return {{.segment_lengths = {tokens}, .dilation_rates = {1}, .causal = causal},
          {.batch = 1, .tokens = tokens, .heads = heads, .kv_heads = kv_heads, .head_dim = 128}};
}

/// Query-major, as a rank folds its own pairs: u meets u, u - 1, ..., 0.
std::vector<ChunkPair> pairs_below(std::int64_t tokens, std::int64_t chunk) {
  std::vector<ChunkPair> pairs;
  const auto rows = [&](std::int64_t i) {
    return ChunkRows{{Position(i * chunk), Position(std::min((i + 1) * chunk, tokens))}, LocalRow(i * chunk)};
  };
  for (std::int64_t u = 0; u * chunk < tokens; ++u) {
    for (std::int64_t v = u; v >= 0; --v) pairs.push_back({rows(u), rows(v)});
  }
  return pairs;
}

/// The same with units of two chunks, from both ends: neither side's rows ascend or descend.
std::vector<ChunkPair> zigzag_pairs(std::int64_t num_units, std::int64_t chunk) {
  const auto rows = [&](std::int64_t i) { return ChunkRows{{Position(i * chunk), Position((i + 1) * chunk)}, LocalRow(i * chunk)}; };
  std::vector<ChunkPair> pairs;
  for (std::int64_t u = 0; u < num_units; ++u) {
    for (const std::int64_t queries : {u, 2 * num_units - 1 - u}) {
      for (std::int64_t v = u; v >= 0; --v) {
        for (const std::int64_t keys : {v, 2 * num_units - 1 - v}) {
          if (keys <= queries) pairs.push_back({rows(queries), rows(keys)});
        }
      }
    }
  }
  return pairs;
}

using Rows = std::pair<std::int64_t, std::int64_t>;
Rows rows_of(const ChunkPair& pair) { return {pair.queries.first_row.value, pair.keys.first_row.value}; }

TEST(BackwardPanels, HoldEveryPairOnceInAnOrderThatNoChunkCanTellFromTheCalls) {
  const Pattern pattern = dense(6144, Causal::kPosition);
  for (const auto& [pairs, max_bytes] :
       {std::pair{pairs_below(6000, 256), 64 * kMegabyte}, {zigzag_pairs(12, 256), 64 * kMegabyte}, {zigzag_pairs(12, 256), 32 * kMegabyte}}) {
    std::map<Rows, std::size_t> place;
    for (std::size_t i = 0; i < pairs.size(); ++i) place[rows_of(pairs[i])] = i;

    const std::vector<BackwardPanel> panels = backward_panels(pattern, pairs, kTileRows, max_bytes);

    std::set<Rows> seen;
    std::map<std::int64_t, std::size_t> last_of_queries, last_of_keys;
    for (const BackwardPanel& panel : panels) {
      for (const ChunkPair& pair : panel.pairs) {
        const auto [queries, keys] = rows_of(pair);
        const std::size_t at = place.at({queries, keys}) + 1;
        EXPECT_TRUE(seen.insert({queries, keys}).second);
        EXPECT_GT(at, last_of_queries[queries]);
        EXPECT_GT(at, last_of_keys[keys]);
        last_of_queries[queries] = last_of_keys[keys] = at;
      }
    }
    EXPECT_EQ(seen.size(), pairs.size());
    EXPECT_GT(panels.size(), 1U);
  }
}

/// (first rows of queries and keys, numbers of them) of the tiles that the pairs of chunks hold, in order.
std::vector<Rows> tiles_of(std::span<const ChunkPair> pairs, Causal causal) {
  std::vector<Rows> tiles;
  for (const ChunkPair& pair : pairs) {
    for (std::int64_t q = 0; q < pair.queries.positions.size(); q += kTileRows) {
      for (std::int64_t k = 0; k < pair.keys.positions.size(); k += kTileRows) {
        const bool is_too_late = pair.keys.positions.begin + k >= std::min(pair.queries.positions.begin + q + kTileRows, pair.queries.positions.end);
        if (causal == Causal::kNone || !is_too_late) tiles.emplace_back(pair.queries.first_row.value + q, pair.keys.first_row.value + k);
      }
    }
  }
  return tiles;
}

/// What one row of tiles meets, in order.
std::vector<std::int64_t> met_by(const std::vector<Rows>& tiles, std::int64_t Rows::*own, std::int64_t Rows::*other, std::int64_t row) {
  std::vector<std::int64_t> met;
  for (const Rows& tile : tiles) {
    if (tile.*own == row) met.push_back(tile.*other);
  }
  return met;
}

TEST(BackwardPanels, CutChunksThatAreTooLongAndNoTileCanTell) {
  constexpr std::int64_t kTokens = 9000, kChunk = 4096;
  for (const Causal causal : {Causal::kNone, Causal::kPosition}) {
    const std::vector<ChunkPair> pairs = pairs_below(kTokens, kChunk);

    const std::vector<BackwardPanel> panels = backward_panels(dense(kTokens, causal), pairs, kTileRows, 16 * kMegabyte);

    ASSERT_GT(panels.size(), pairs.size());
    std::vector<ChunkPair> folded;
    for (const BackwardPanel& panel : panels) folded.insert(folded.end(), panel.pairs.begin(), panel.pairs.end());
    const std::vector<Rows> expected = tiles_of(pairs, causal), found = tiles_of(folded, causal);
    EXPECT_EQ(std::multiset<Rows>(found.begin(), found.end()), std::multiset<Rows>(expected.begin(), expected.end()));
    for (std::int64_t row = 0; row < kTokens; row += kTileRows) {
      EXPECT_EQ(met_by(found, &Rows::first, &Rows::second, row), met_by(expected, &Rows::first, &Rows::second, row));
      EXPECT_EQ(met_by(found, &Rows::second, &Rows::first, row), met_by(expected, &Rows::second, &Rows::first, row));
    }
  }
}

TEST(BackwardPanels, HaveASlotForEachBlockThatARoundAsksFor) {
  constexpr std::int64_t kMaxBytes = 64 * kMegabyte;

  for (const BackwardPanel& panel : backward_panels(dense(6000, Causal::kNone), pairs_below(6000, 256), kTileRows, kMaxBytes)) {
    const ScoreGradientRounds& rounds = panel.rounds;
    EXPECT_EQ(rounds.num_rounds * rounds.planes_in_round, 4);
    EXPECT_LE(ScoreGradientRounds::kSlots * std::int64_t{rounds.blocks_in_slot()} * kScoreBlockBytes, kMaxBytes);
    for (const ChunkPair& pair : panel.pairs) {
      const auto last_keys = static_cast<std::int32_t>(pair.keys.first_row.value + pair.keys.positions.size() - 1);
      const auto last_queries = static_cast<std::int32_t>(pair.queries.first_row.value + pair.queries.positions.size() - 1);
      const std::int32_t round = rounds.num_rounds - 1;
      const std::int32_t block = rounds.first_block(round, 3) + rounds.blocks_to_keys(last_keys) + rounds.blocks_to_queries(last_queries);
      EXPECT_GE(rounds.blocks_to_keys(static_cast<std::int32_t>(pair.keys.first_row.value)), 0);
      EXPECT_LT(block, (round % ScoreGradientRounds::kSlots + 1) * rounds.blocks_in_slot());
    }
  }
}

TEST(BackwardPanels, AreNoneWhereTilesWouldNotMeet) {
  const auto has_panels = [](const Pattern& pattern, const std::vector<ChunkPair>& pairs, std::int64_t bytes = 64 * kMegabyte) {
    return !backward_panels(pattern, pairs, kTileRows, bytes).empty();
  };
  const Pattern dilated({.segment_lengths = {1024}, .dilation_rates = {2}}, {.batch = 1, .tokens = 1024, .heads = 2, .kv_heads = 2, .head_dim = 128});

  EXPECT_TRUE(has_panels(dense(1024, Causal::kNone), pairs_below(1024, 256)));
  EXPECT_FALSE(has_panels(dense(1024, Causal::kNone), pairs_below(1024, 200)));
  EXPECT_FALSE(has_panels(dense(1024, Causal::kSequence), pairs_below(1024, 256)));
  EXPECT_FALSE(has_panels(dilated, pairs_below(1024, 256)));
  EXPECT_FALSE(has_panels(dense(1024, Causal::kNone), pairs_below(1024, 256), 0));
  EXPECT_FALSE(has_panels(dense(1024, Causal::kNone), {}));
}

/// A block may wait only for items that were claimed before its own, or all might wait for each other.
TEST(BackwardRounds, HaveEveryItemOnceBehindAllThatItWaitsFor) {
  for (const std::int32_t num_rounds : {1, 2, 3, 8}) {
    for (const auto& [keys, queries] : {std::pair{4, 4}, {3, 7}, {7, 2}}) {
      ScoreGradientRounds rounds;
      rounds.num_rounds = num_rounds;
      rounds.key_tiles_in_round = keys;
      rounds.query_tiles_in_round = queries;
      std::set<std::pair<bool, std::int32_t>> seen;
      std::vector<std::int32_t> keys_done(static_cast<std::size_t>(num_rounds)), queries_done(static_cast<std::size_t>(num_rounds));
      for (std::int32_t index = 0; index < rounds.num_items(); ++index) {
        const RoundItem item = round_item(rounds, index);
        const auto round = static_cast<std::size_t>(item.round);

        EXPECT_TRUE(seen.insert({item.is_of_queries, item.tile}).second);
        EXPECT_EQ(item.tile / (item.is_of_queries ? queries : keys), item.round);
        const bool waits_for_slot = !item.is_of_queries && item.round >= ScoreGradientRounds::kSlots;
        EXPECT_TRUE(!item.is_of_queries || keys_done.at(round) == keys);
        EXPECT_TRUE(!waits_for_slot || queries_done.at(round - ScoreGradientRounds::kSlots) == queries);

        ++(item.is_of_queries ? queries_done : keys_done).at(round);
      }
      EXPECT_EQ(std::ssize(seen), rounds.num_items());
    }
  }
}

}  // namespace
}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <cstdint>

namespace hilbertring {

/// Rows of either side in a block of score gradients, and its bytes.
inline constexpr std::int32_t kScoreBlockRows = 64;
inline constexpr std::int32_t kScoreBlockBytes = kScoreBlockRows * kScoreBlockRows * 2;

/// Device memory for score gradients, unless told otherwise.
inline constexpr std::int64_t kScoreGradientBytes = std::int64_t{2} << 30;

/// One side's rows in a panel of pairs: a run of neighbours from `first_low` on, and one from `first_high` on (zigzag placement has chunks from both
/// ends of a shard meet), numbered in blocks.
struct ScoreRows {
  std::int32_t first_low = 0, first_high = 0;
  std::int32_t num_low_blocks = 0, num_blocks = 0;

  constexpr std::int32_t block_of(std::int32_t row) const {
    return row < first_high ? (row - first_low) / kScoreBlockRows : num_low_blocks + (row - first_high) / kScoreBlockRows;
  }
};

/// The gradients of scores (dS, rounded to the inputs' type) are computed once, where keys are owned, and kept for where queries are: the backward
/// pass of some planes (a plane: a head of a batch element) after the other goes in *rounds* of a few planes each,
///
///   round 0 keys | round 1 keys | round 2 keys, round 0 queries | round 3 keys, round 1 queries | ... | last rounds' queries
///
/// because products are the limit where keys are owned and memory is where queries are: together they fill the device. A round's score gradients lie
/// in one of `kSlots` slots, as [query planes of the round, key blocks, query blocks] of blocks [64 keys, 64 queries], whose rows of 128 bytes are
/// swizzled as products read them.
struct ScoreGradientRounds {
  static constexpr std::int32_t kLag = 2;    ///< rounds between a round's keys and its queries
  static constexpr std::int32_t kSlots = 4;  ///< keys of round t wait for the queries of round t - kSlots

  std::byte* slots = nullptr;        ///< device
  std::int32_t* counters = nullptr;  ///< device, 0: items claimed; then, of each round, arrivals of keys; then those of queries
  ScoreRows queries, keys;
  std::int32_t planes_in_round = 0;
  std::int32_t num_rounds = 0;
  std::int32_t key_tiles_in_round = 0, query_tiles_in_round = 0;

  constexpr std::int32_t blocks_in_slot() const { return planes_in_round * keys.num_blocks * queries.num_blocks; }
  /// Number of the first block of a query plane.
  constexpr std::int32_t first_block(std::int32_t round, std::int32_t plane) const {
    return round % kSlots * blocks_in_slot() + (plane - round * planes_in_round) * keys.num_blocks * queries.num_blocks;
  }
  /// How much later the block is that begins at these rows.
  constexpr std::int32_t blocks_to_keys(std::int32_t key_row) const { return keys.block_of(key_row) * queries.num_blocks; }
  constexpr std::int32_t blocks_to_queries(std::int32_t query_row) const { return queries.block_of(query_row); }
  constexpr std::int32_t num_items() const { return num_rounds * (key_tiles_in_round + query_tiles_in_round); }
  static constexpr std::int32_t num_counters(std::int64_t num_rounds) { return static_cast<std::int32_t>(1 + 2 * num_rounds); }
};

/// What a thread block does next: a tile of the list of keys or of queries.
struct RoundItem {
  bool is_of_queries;
  std::int32_t round, tile;  ///< of the whole list
};

/// Item `index` of all: whatever an item waits for has a lower index.
constexpr RoundItem round_item(const ScoreGradientRounds& rounds, std::int32_t index) {
  const std::int32_t keys = rounds.key_tiles_in_round, queries = rounds.query_tiles_in_round;
  const std::int32_t num_ahead = rounds.num_rounds < ScoreGradientRounds::kLag ? rounds.num_rounds : ScoreGradientRounds::kLag;
  if (index < num_ahead * keys) return {false, index / keys, index};
  index -= num_ahead * keys;
  const std::int32_t num_mixed = rounds.num_rounds - num_ahead;
  if (index >= num_mixed * (keys + queries)) {
    index -= num_mixed * (keys + queries);
    return {true, num_mixed + index / queries, num_mixed * queries + index};
  }
  const std::int32_t round = index / (keys + queries);
  const std::int64_t place = index % (keys + queries);
  const auto queries_before = static_cast<std::int32_t>(place * queries / (keys + queries));
  const bool is_of_queries = (place + 1) * queries / (keys + queries) > queries_before;
  if (is_of_queries) return {true, round, round * queries + queries_before};
  return {false, round + num_ahead, (round + num_ahead) * keys + static_cast<std::int32_t>(place) - queries_before};
}

}  // namespace hilbertring

#pragma once

#include <cstdint>

// Thread blocks that own tiles of keys add to dQ of the query tiles that they meet. So that each sum has one order, they take turns: a counter for each
// query tile tells whose turn it is. Tiles of a key chunk begin at different query tiles of a chunk, where their first turns are, and go round:
//
//   4 key tiles (0 to 3) of 128 rows, 8 query tiles of 64       time ->
//   query tile 0:  key tile 0 at time 0, 3 at time 2, 2 at 4, 1 at 6
//   query tile 2:  key tile 1 at time 0, 0 at time 2, 3 at 4, 2 at 6
//
// Whose turn it is has then had two steps' time for it to come. Only tiles of a group wait for each other in a ring; all others wait for blocks that
// began earlier. So a device that runs a group's blocks at a time comes to an end.
namespace hilbertring {

inline constexpr std::int32_t kTurnKeyRows = 128;
inline constexpr std::int32_t kTurnQueryRows = 64;
/// Key tiles that go round together: at most the thread blocks that the smallest Hopper GPU runs at a time.
inline constexpr std::int32_t kTurnGroup = 64;

/// A key tile among those of its chunk.
struct KeyTilePlace {
  std::int32_t tile, num_tiles;
};

constexpr std::int32_t smaller(std::int32_t a, std::int32_t b) { return b < a ? b : a; }

/// The query tile of a chunk of `num_query_tiles` that a key tile begins with.
constexpr std::int32_t first_query_tile(std::int32_t key_tile, std::int32_t num_query_tiles) {
  return smaller(kTurnKeyRows / kTurnQueryRows * key_tile, num_query_tiles - 1);
}

/// Key tiles of the chunk that begin at the query tile or before it.
constexpr std::int32_t num_begun(std::int32_t num_key_tiles, std::int32_t query_tile, std::int32_t num_query_tiles) {
  if (query_tile == num_query_tiles - 1) return num_key_tiles;
  return smaller(num_key_tiles, query_tile * kTurnQueryRows / kTurnKeyRows + 1);
}

/// The key tile's turn at the query tile, from 0, among those of its chunk: group by group; in a group first those that have begun, the last first.
constexpr std::int32_t turn_of(KeyTilePlace key, std::int32_t query_tile, std::int32_t num_query_tiles) {
  const std::int32_t first_of_group = key.tile / kTurnGroup * kTurnGroup;
  const std::int32_t end_of_group = smaller(key.num_tiles, first_of_group + kTurnGroup);
  const std::int32_t begun = smaller(end_of_group, num_begun(key.num_tiles, query_tile, num_query_tiles));
  if (key.tile < begun) return first_of_group + (begun - 1 - key.tile);
  const std::int32_t first_later = begun < first_of_group ? first_of_group : begun;
  return first_later + (end_of_group - 1 - key.tile);
}

/// The turn that comes after the key tile's. `is_diagonal`: queries and keys are the same chunk under causality by position: only key tiles that have
/// begun meet the query tile, and the last of them ends the turns of the others, too.
constexpr std::int32_t turn_after(KeyTilePlace key, std::int32_t query_tile, std::int32_t num_query_tiles, bool is_diagonal) {
  if (!is_diagonal || key.tile % kTurnGroup != 0) return turn_of(key, query_tile, num_query_tiles) + 1;
  const std::int32_t end_of_group = key.tile + kTurnGroup;
  return end_of_group < num_begun(key.num_tiles, query_tile, num_query_tiles) ? end_of_group : key.num_tiles;
}

}  // namespace hilbertring

#include "core/cuda/backward_panels.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace hilbertring {

namespace {

/// A panel is at most so large if the memory allows: tiles load and store their results once a panel, and that should be seldom.
constexpr std::int64_t kMostRows = 16384;
/// A round has at least so many tiles of keys, if there are as many: about as many as there are multiprocessors, so that few wait for its end.
constexpr std::int64_t kTilesOfRound = 128;

/// Rows [begin, end) of one side.
struct RowSpan {
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  std::int64_t end = 0;

  void add(const ChunkRows& chunk) {
    begin = std::min(begin, chunk.first_row.value);
    end = std::max(end, chunk.first_row.value + chunk.positions.size());
  }
  std::int64_t size() const { return end - begin; }
};

struct PairSpan {
  RowSpan queries, keys;

  explicit PairSpan(std::span<const ChunkPair> pairs) {
    for (const ChunkPair& pair : pairs) {
      queries.add(pair.queries);
      keys.add(pair.keys);
    }
  }
};

bool is_all_of(const Run& run, Range<Position> positions) { return run.first == positions.begin && run.stride == 1 && run.count == positions.size(); }

/// Whether a pair's only product is that of all its rows.
bool is_whole(const Pattern& pattern, const ChunkPair& pair, std::vector<Block>& blocks) {
  blocks.clear();
  pattern.branch(0).append_blocks(0, pair.queries.positions, pair.keys.positions, blocks);
  return blocks.size() == 1 && blocks.front().all_pairs && is_all_of(blocks.front().queries, pair.queries.positions) &&
         is_all_of(blocks.front().keys, pair.keys.positions);
}

bool can_keep(const Pattern& pattern, std::span<const ChunkPair> pairs, const PairSpan& span, std::int64_t tile_rows) {
  if (pattern.num_branches() != 1 || pattern.num_head_classes() != 1 || !pattern.branch(0).has_head(0)) return false;
  if (pattern.causal() == Causal::kSequence) return false;
  std::vector<Block> blocks;
  return std::ranges::all_of(pairs, [&](const ChunkPair& pair) {
    return (pair.queries.first_row.value - span.queries.begin) % tile_rows == 0 && (pair.keys.first_row.value - span.keys.begin) % tile_rows == 0 &&
           is_whole(pattern, pair, blocks);
  });
}

std::int64_t blocks_of(const RowSpan& span, std::int64_t tile_rows) { return ceil_div(span.size(), tile_rows) * (tile_rows / kScoreBlockRows); }

/// Whether each chunk meets the others in the order of the whole call.
bool keep_order(std::span<const ChunkPair> pairs, const std::vector<BackwardPanel>& panels) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> place;
  for (std::size_t i = 0; i < pairs.size(); ++i) place[{pairs[i].queries.first_row.value, pairs[i].keys.first_row.value}] = i;
  if (place.size() != pairs.size()) return false;
  std::map<std::int64_t, std::size_t> last_of_queries, last_of_keys;
  for (const BackwardPanel& panel : panels) {
    for (const ChunkPair& pair : panel.pairs) {
      const std::size_t at = place.at({pair.queries.first_row.value, pair.keys.first_row.value}) + 1;
      std::size_t& queries = last_of_queries[pair.queries.first_row.value];
      std::size_t& keys = last_of_keys[pair.keys.first_row.value];
      if (at < queries || at < keys) return false;
      queries = keys = at;
    }
  }
  return true;
}

/// Rows of a panel's sides for which a slot has room, for the heads that share a KV head.
std::pair<std::int64_t, std::int64_t> panel_rows(std::int64_t group, std::int64_t slot_bytes) {
  std::int64_t queries = kMostRows, keys = kMostRows;
  while (queries * keys * group > slot_bytes / 2 && queries > kScoreBlockRows) (keys >= queries ? keys : queries) /= 2;
  return {queries, keys};
}

/// KV planes of a round: a divisor of all, with tiles enough, for which a slot has room. 0 if there is none.
std::int64_t kv_planes_of_round(std::int64_t num_planes, std::int64_t tiles_of_plane, std::int64_t bytes_of_plane, std::int64_t slot_bytes) {
  std::int64_t best = 0;
  for (std::int64_t planes = 1; planes <= num_planes && planes * bytes_of_plane <= slot_bytes; ++planes) {
    if (num_planes % planes != 0) continue;
    best = planes;
    if (planes * tiles_of_plane >= kTilesOfRound) break;
  }
  return best;
}

/// Lays out the panel's rounds. False if a slot has no room for one plane.
bool lay_out(BackwardPanel& panel, const Shape& shape, std::int64_t tile_rows, std::int64_t slot_bytes) {
  const PairSpan span(panel.pairs);
  const std::int64_t group = shape.heads_per_kv_head();
  const std::int64_t query_blocks = blocks_of(span.queries, tile_rows), key_blocks = blocks_of(span.keys, tile_rows);
  const std::int64_t num_planes = shape.batch * shape.kv_heads;
  const std::int64_t planes =
      kv_planes_of_round(num_planes, key_blocks * kScoreBlockRows / tile_rows, query_blocks * key_blocks * kScoreBlockBytes * group, slot_bytes);
  if (planes == 0) return false;
  panel.rounds.first_query_row = static_cast<std::int32_t>(span.queries.begin);
  panel.rounds.first_key_row = static_cast<std::int32_t>(span.keys.begin);
  panel.rounds.num_query_blocks = static_cast<std::int32_t>(query_blocks);
  panel.rounds.num_key_blocks = static_cast<std::int32_t>(key_blocks);
  panel.rounds.planes_in_round = static_cast<std::int32_t>(planes * group);
  panel.rounds.num_rounds = static_cast<std::int32_t>(num_planes / planes);
  return true;
}

}  // namespace

std::vector<BackwardPanel> backward_panels(const Pattern& pattern, std::span<const ChunkPair> pairs, std::int64_t tile_rows, std::int64_t max_bytes) {
  const PairSpan whole(pairs);
  if (pairs.empty() || !can_keep(pattern, pairs, whole, tile_rows)) return {};
  const std::int64_t slot_bytes = max_bytes / ScoreGradientRounds::kSlots;
  const auto [query_rows, key_rows] = panel_rows(pattern.shape().heads_per_kv_head(), slot_bytes);
  std::vector<BackwardPanel> panels;
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> panel_at;
  for (const ChunkPair& pair : pairs) {
    const std::pair<std::int64_t, std::int64_t> at{(pair.queries.first_row.value - whole.queries.begin) / query_rows,
                                                   (pair.keys.first_row.value - whole.keys.begin) / key_rows};
    const auto [place, is_new] = panel_at.try_emplace(at, panels.size());
    if (is_new) panels.emplace_back();
    panels[place->second].pairs.push_back(pair);
  }
  const bool has_room = std::ranges::all_of(panels, [&](BackwardPanel& panel) { return lay_out(panel, pattern.shape(), tile_rows, slot_bytes); });
  if (!has_room || !keep_order(pairs, panels)) return {};
  return panels;
}

}  // namespace hilbertring

#include "core/cuda/backward_panels.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace hilbertring {

namespace {

/// A panel is at most so large if the memory allows: tiles load and store their results once a panel, and that should be seldom.
constexpr std::int64_t kMostRows = 16384;
/// A round has at least so many tiles of keys, if there are as many: about as many as there are multiprocessors, so that few wait for its end.
constexpr std::int64_t kTilesOfRound = 128;

using SideOfPair = ChunkRows ChunkPair::*;

std::int64_t first_row(const ChunkRows& chunk) { return chunk.first_row.value; }
std::int64_t end_row(const ChunkRows& chunk) { return first_row(chunk) + chunk.positions.size(); }

bool is_all_of(const Run& run, Range<Position> positions) { return run.first == positions.begin && run.stride == 1 && run.count == positions.size(); }

/// Whether each pair's only product is that of all its rows.
bool are_whole(const Pattern& pattern, std::span<const ChunkPair> pairs) {
  if (pattern.num_branches() != 1 || pattern.num_head_classes() != 1 || !pattern.branch(0).has_head(0)) return false;
  std::vector<Block> blocks;
  return std::ranges::all_of(pairs, [&](const ChunkPair& pair) {
    blocks.clear();
    pattern.branch(0).append_blocks(0, pair.queries.positions, pair.keys.positions, blocks);
    return blocks.size() == 1 && blocks.front().all_pairs && is_all_of(blocks.front().queries, pair.queries.positions) &&
           is_all_of(blocks.front().keys, pair.keys.positions);
  });
}

struct PanelRows {
  std::int64_t queries, keys;
};

/// Rows of a panel's sides for which a slot has room, for the heads that share a KV head.
PanelRows panel_rows(std::int64_t group, std::int64_t slot_bytes) {
  std::int64_t queries = kMostRows, keys = kMostRows;
  while (queries * keys * group > slot_bytes / 2 && queries > kScoreBlockRows) (keys >= queries ? keys : queries) /= 2;
  return {queries, keys};
}

/// Equal parts of a chunk, of at most `most_rows`, a multiple of `tile_rows` each but for the last.
std::vector<ChunkRows> parts_of(const ChunkRows& chunk, std::int64_t most_rows, std::int64_t tile_rows) {
  const std::int64_t num_rows = chunk.positions.size();
  if (most_rows < tile_rows || num_rows <= most_rows) return {chunk};
  const std::int64_t rows_of_part = ceil_div(ceil_div(num_rows, ceil_div(num_rows, most_rows)), tile_rows) * tile_rows;
  std::vector<ChunkRows> parts;
  for (Position begin = chunk.positions.begin; begin < chunk.positions.end; begin = begin + rows_of_part) {
    parts.push_back({{begin, std::min(begin + rows_of_part, chunk.positions.end)}, chunk.row_of(begin)});
  }
  return parts;
}

/// Pairs of chunks too long for a panel, as pairs of their parts: a tile meets the same tiles in the same order, and none where nothing is allowed.
std::vector<ChunkPair> cut_long_chunks(const Pattern& pattern, std::span<const ChunkPair> pairs, const PanelRows& most, std::int64_t tile_rows) {
  std::vector<ChunkPair> all;
  for (const ChunkPair& pair : pairs) {
    const std::vector<ChunkRows> queries = parts_of(pair.queries, most.queries, tile_rows), keys = parts_of(pair.keys, most.keys, tile_rows);
    const bool may_be_empty = pattern.causal() == Causal::kPosition && queries.size() * keys.size() > 1;
    for (const ChunkRows& some : queries) {
      for (const ChunkRows& others : keys) {
        if (!may_be_empty || others.positions.begin < some.positions.end) all.push_back({some, others});
      }
    }
  }
  return all;
}

/// One side's chunks, by their first rows, in groups of at most so many rows, in the order in which the pairs first name them. That is the ring's
/// order of units, of one or two chunks: groups of an even number of chunks hold whole units.
std::map<std::int64_t, std::int64_t> group_chunks(std::span<const ChunkPair> pairs, SideOfPair side, std::int64_t most_rows) {
  std::map<std::int64_t, std::int64_t> group_of;
  std::int64_t chunk_rows = 1;
  for (const ChunkPair& pair : pairs) chunk_rows = std::max(chunk_rows, (pair.*side).positions.size());
  const std::int64_t fitting = std::max<std::int64_t>(most_rows / chunk_rows, 1);
  const std::int64_t chunks_of_group = fitting > 1 ? fitting / 2 * 2 : 1;
  for (const ChunkPair& pair : pairs) group_of.try_emplace(first_row(pair.*side), std::ssize(group_of) / chunks_of_group);
  return group_of;
}

/// The panels in an order in which each chunk meets the others as it does in the whole call. Empty if there is none: a panel would have to be folded
/// both before and after another.
std::vector<BackwardPanel> in_order(std::vector<BackwardPanel> panels, std::span<const ChunkPair> pairs,
                                    const std::vector<std::size_t>& panel_of_pair) {
  std::vector<std::set<std::size_t>> next(panels.size());
  std::vector<std::int64_t> num_before(panels.size());
  for (const SideOfPair side : {&ChunkPair::queries, &ChunkPair::keys}) {
    std::map<std::int64_t, std::size_t> last;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      const std::size_t panel = panel_of_pair[i];
      const auto [before, is_first] = last.try_emplace(first_row(pairs[i].*side), panel);
      if (!is_first && before->second != panel && next[before->second].insert(panel).second) ++num_before[panel];
      before->second = panel;
    }
  }
  std::set<std::size_t> ready;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    if (num_before[i] == 0) ready.insert(i);
  }
  std::vector<BackwardPanel> ordered;
  while (!ready.empty()) {
    const std::size_t panel = ready.extract(ready.begin()).value();
    for (const std::size_t behind : next[panel]) {
      if (--num_before[behind] == 0) ready.insert(behind);
    }
    ordered.push_back(std::move(panels[panel]));
  }
  if (ordered.size() < panels.size()) ordered.clear();
  return ordered;
}

std::int32_t num_blocks(std::int64_t num_rows, std::int64_t tile_rows) {
  return static_cast<std::int32_t>(ceil_div(num_rows, tile_rows) * (tile_rows / kScoreBlockRows));
}

/// Two runs of rows that hold one side's chunks, on both sides of their widest gap. nullopt where tiles of a run would not begin at whole tiles.
std::optional<ScoreRows> score_rows(const std::vector<ChunkPair>& pairs, SideOfPair side, std::int64_t tile_rows) {
  std::map<std::int64_t, std::int64_t> chunks;  // first row, end
  for (const ChunkPair& pair : pairs) chunks[first_row(pair.*side)] = end_row(pair.*side);
  const std::int64_t low = chunks.begin()->first, end = chunks.rbegin()->second;
  std::int64_t low_end = end, high = end;
  for (auto chunk = chunks.begin(); std::next(chunk) != chunks.end(); ++chunk) {
    const std::int64_t next = std::next(chunk)->first;
    if (next - chunk->second > high - low_end) {
      low_end = chunk->second;
      high = next;
    }
  }
  for (const auto& [begin, chunk_end] : chunks) {
    if ((begin - (begin < high ? low : high)) % tile_rows != 0) return std::nullopt;
  }
  const std::int32_t low_blocks = num_blocks(low_end - low, tile_rows);
  return ScoreRows{.first_low = static_cast<std::int32_t>(low),
                   .first_high = static_cast<std::int32_t>(high),
                   .num_low_blocks = low_blocks,
                   .num_blocks = low_blocks + num_blocks(end - high, tile_rows)};
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

/// Lays out the panel's rounds. False if tiles would not begin at blocks, or a slot has no room for one plane.
bool lay_out(BackwardPanel& panel, const Shape& shape, std::int64_t tile_rows, std::int64_t slot_bytes) {
  const auto queries = score_rows(panel.pairs, &ChunkPair::queries, tile_rows);
  const auto keys = score_rows(panel.pairs, &ChunkPair::keys, tile_rows);
  if (!queries || !keys) return false;
  const std::int64_t group = shape.heads_per_kv_head();
  const std::int64_t num_planes = shape.batch * shape.kv_heads;
  const std::int64_t bytes_of_plane = std::int64_t{queries->num_blocks} * keys->num_blocks * kScoreBlockBytes * group;
  const std::int64_t planes =
      kv_planes_of_round(num_planes, std::int64_t{keys->num_blocks} * kScoreBlockRows / tile_rows, bytes_of_plane, slot_bytes);
  if (planes == 0) return false;
  panel.rounds.queries = *queries;
  panel.rounds.keys = *keys;
  panel.rounds.planes_in_round = static_cast<std::int32_t>(planes * group);
  panel.rounds.num_rounds = static_cast<std::int32_t>(num_planes / planes);
  return true;
}

}  // namespace

std::vector<BackwardPanel> backward_panels(const Pattern& pattern, std::span<const ChunkPair> all_pairs, std::int64_t tile_rows,
                                           std::int64_t max_bytes) {
  if (all_pairs.empty() || pattern.causal() == Causal::kSequence) return {};
  const std::int64_t slot_bytes = max_bytes / ScoreGradientRounds::kSlots;
  const PanelRows most = panel_rows(pattern.shape().heads_per_kv_head(), slot_bytes);
  const std::vector<ChunkPair> pairs = cut_long_chunks(pattern, all_pairs, most, tile_rows);
  if (!are_whole(pattern, pairs)) return {};
  const auto group_of_queries = group_chunks(pairs, &ChunkPair::queries, most.queries);
  const auto group_of_keys = group_chunks(pairs, &ChunkPair::keys, most.keys);
  std::vector<BackwardPanel> panels;
  std::vector<std::size_t> panel_of_pair;
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> panel_at;
  for (const ChunkPair& pair : pairs) {
    const std::pair at{group_of_queries.at(first_row(pair.queries)), group_of_keys.at(first_row(pair.keys))};
    const auto [place, is_new] = panel_at.try_emplace(at, panels.size());
    if (is_new) panels.emplace_back();
    panels[place->second].pairs.push_back(pair);
    panel_of_pair.push_back(place->second);
  }
  const bool has_room = std::ranges::all_of(panels, [&](BackwardPanel& panel) { return lay_out(panel, pattern.shape(), tile_rows, slot_bytes); });
  if (!has_room) return {};
  return in_order(std::move(panels), pairs, panel_of_pair);
}

}  // namespace hilbertring

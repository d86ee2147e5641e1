#include "core/cuda/backward_panels.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

namespace hilbertring {

namespace {

/// A panel is at most so large if the memory allows: tiles load and store their results once a panel, and that should be seldom.
constexpr std::int64_t kMostQueryRows = 16384;
constexpr std::int64_t kMostKeyRows = 32768;

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

/// Rows of a panel's sides that its memory allows for the heads that share a KV head.
std::pair<std::int64_t, std::int64_t> panel_rows(std::int64_t group, std::int64_t max_bytes) {
  std::int64_t queries = kMostQueryRows, keys = kMostKeyRows;
  while (queries * keys * group > max_bytes / 2 && queries > kScoreBlockRows) (keys > queries ? keys : queries) /= 2;
  return {queries, keys};
}

}  // namespace

std::vector<BackwardPanel> backward_panels(const Pattern& pattern, std::span<const ChunkPair> pairs, std::int64_t tile_rows, std::int64_t max_bytes) {
  const PairSpan whole(pairs);
  if (pairs.empty() || !can_keep(pattern, pairs, whole, tile_rows)) return {};
  const std::int64_t group = pattern.shape().heads_per_kv_head();
  const auto [query_rows, key_rows] = panel_rows(group, max_bytes);
  std::vector<BackwardPanel> panels;
  std::map<std::pair<std::int64_t, std::int64_t>, std::size_t> panel_at;
  for (const ChunkPair& pair : pairs) {
    const std::pair<std::int64_t, std::int64_t> at{(pair.queries.first_row.value - whole.queries.begin) / query_rows,
                                                   (pair.keys.first_row.value - whole.keys.begin) / key_rows};
    const auto [place, is_new] = panel_at.try_emplace(at, panels.size());
    if (is_new) panels.emplace_back();
    panels[place->second].pairs.push_back(pair);
  }
  for (BackwardPanel& panel : panels) {
    const PairSpan span(panel.pairs);
    panel.place.first_query_row = span.queries.begin;
    panel.place.first_key_row = span.keys.begin;
    panel.place.num_query_blocks = static_cast<std::int32_t>(blocks_of(span.queries, tile_rows));
    panel.place.num_key_blocks = static_cast<std::int32_t>(blocks_of(span.keys, tile_rows));
    const std::int64_t bytes = std::int64_t{panel.place.num_query_blocks} * panel.place.num_key_blocks * kScoreBlockBytes * group;
    if (bytes > max_bytes) return {};
    const std::int64_t num_planes = pattern.shape().batch * pattern.shape().kv_heads;
    panel.kv_planes_at_a_time = ceil_div(num_planes, ceil_div(num_planes, std::min(max_bytes / bytes, num_planes)));
  }
  if (!keep_order(pairs, panels)) return {};
  return panels;
}

}  // namespace hilbertring

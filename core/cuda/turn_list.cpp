#include "core/cuda/turn_list.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/turns.h"
#include "core/error.h"

namespace hilbertring {

namespace {

std::string to_string(const ChunkRows& chunk) {
  return "[" + std::to_string(chunk.positions.begin.value) + ", " + std::to_string(chunk.positions.end.value) + ")";
}

std::int32_t num_rows(const ChunkRows& chunk) {
  if (chunk.positions.size() > std::numeric_limits<std::int32_t>::max()) {
    throw usage_error("a chunk has " + std::to_string(chunk.positions.size()) + " rows, but the GPU's kernels take at most 2147483647");
  }
  return static_cast<std::int32_t>(chunk.positions.size());
}

/// A pair by the numbers of its chunks.
struct NumberedPair {
  std::size_t queries, keys;
  bool is_diagonal;
};

/// Chunks of one side, numbered in the order in which they come.
class ChunkNumbers {
 public:
  std::size_t number_of(const ChunkRows& chunk) {
    const auto [place, is_new] = numbers_.try_emplace(chunk.first_row, chunks_.size());
    if (is_new) chunks_.push_back(chunk);
    return place->second;
  }
  const std::vector<ChunkRows>& chunks() const { return chunks_; }

 private:
  std::map<LocalRow, std::size_t> numbers_;
  std::vector<ChunkRows> chunks_;
};

/// An order of the key chunks in which every query chunk meets its own; nullopt if there is none.
std::optional<std::vector<std::size_t>> common_order(const std::vector<NumberedPair>& pairs, std::size_t num_queries, std::size_t num_keys) {
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  std::vector<std::vector<std::size_t>> later(num_keys);
  std::vector<std::size_t> num_earlier(num_keys, 0), last(num_queries, kNone), order;
  for (const NumberedPair& pair : pairs) {
    const std::size_t before = std::exchange(last[pair.queries], pair.keys);
    if (before == kNone) continue;
    later[before].push_back(pair.keys);
    ++num_earlier[pair.keys];
  }
  for (std::size_t key = 0; key < num_keys; ++key) {
    if (num_earlier[key] == 0) order.push_back(key);
  }
  for (std::size_t i = 0; i < order.size(); ++i) {
    for (const std::size_t key : later[order[i]]) {
      if (--num_earlier[key] == 0) order.push_back(key);
    }
  }
  if (order.size() < num_keys) return std::nullopt;
  return order;
}

/// Pairs of one launch, and the order in which key chunks begin.
struct TurnLaunch {
  std::vector<NumberedPair> pairs;
  std::vector<std::size_t> key_order;
};

/// One launch for each meeting of all chunks with one other: for orders that no order of the key chunks suits.
std::vector<TurnLaunch> launches_in_rounds(const std::vector<NumberedPair>& pairs, std::size_t num_queries, std::size_t num_keys) {
  std::vector<std::size_t> next_of_query(num_queries, 0), next_of_key(num_keys, 0);
  std::vector<TurnLaunch> launches;
  for (const NumberedPair& pair : pairs) {
    const std::size_t round = std::max(next_of_query[pair.queries], next_of_key[pair.keys]);
    next_of_query[pair.queries] = next_of_key[pair.keys] = round + 1;
    if (launches.size() <= round) launches.resize(round + 1);
    launches[round].pairs.push_back(pair);
    launches[round].key_order.push_back(pair.keys);
  }
  return launches;
}

class TurnListBuilder {
 public:
  TurnListBuilder(const Pattern& pattern, TileRows tile_rows) : pattern_(pattern), tile_rows_(tile_rows) { list_.strides = {1}; }

  WorkList build(std::span<const ChunkPair> pairs) {
    const std::vector<NumberedPair> numbered = number(pairs);
    std::int32_t num_query_tiles = 0;
    for (const ChunkRows& chunk : queries_.chunks()) {
      first_turns_.push_back(num_query_tiles);
      num_query_tiles += num_tiles(chunk, tile_rows_.other);
    }
    list_.turns_per_launch = num_query_tiles * pattern_.shape().batch * pattern_.shape().heads;
    const std::size_t num_queries = queries_.chunks().size(), num_keys = keys_.chunks().size();
    if (auto order = common_order(numbered, num_queries, num_keys)) {
      add_launch({.pairs = numbered, .key_order = std::move(*order)});
    } else {
      for (const TurnLaunch& launch : launches_in_rounds(numbered, num_queries, num_keys)) add_launch(launch);
    }
    return std::move(list_);
  }

 private:
  static std::int32_t num_tiles(const ChunkRows& chunk, std::int32_t rows) { return static_cast<std::int32_t>(ceil_div(num_rows(chunk), rows)); }

  /// Leaves out pairs of chunks without an allowed pair.
  std::vector<NumberedPair> number(std::span<const ChunkPair> pairs) {
    std::vector<NumberedPair> numbered;
    for (const ChunkPair& pair : pairs) {
      const Range<Position>& queries = pair.queries.positions;
      const Range<Position>& keys = pair.keys.positions;
      if (queries.is_empty() || keys.is_empty()) continue;
      const TileClass by_causality =
          pattern_.causal_class(queries.begin.value, queries.end.value - 1, keys.begin.value, keys.end.value - 1);
      if (by_causality == TileClass::kEmpty) continue;
      const bool is_diagonal = by_causality == TileClass::kPartial;
      if (is_diagonal && queries != keys) {
        throw usage_error("the query chunk " + to_string(pair.queries) + " and the key chunk " + to_string(pair.keys) +
                          " overlap, but under causality by position they must be equal or disjoint");
      }
      numbered.push_back({queries_.number_of(pair.queries), keys_.number_of(pair.keys), is_diagonal});
    }
    return numbered;
  }

  void add_launch(const TurnLaunch& launch) {
    std::vector<std::vector<Meeting>> meetings(keys_.chunks().size());
    std::vector<std::int32_t> next_turn(queries_.chunks().size(), 0);
    for (const NumberedPair& pair : launch.pairs) {
      std::int32_t& turn = next_turn[pair.queries];
      const Meeting meeting{.rows = whole(queries_.chunks()[pair.queries]),
                            .first_counter = first_turns_[pair.queries],
                            .turn = turn,
                            .is_diagonal = pair.is_diagonal ? 1 : 0};
      turn += num_tiles(keys_.chunks()[pair.keys], tile_rows_.own);
      append_for_group(meeting, meetings[pair.keys]);
    }
    std::vector<std::int32_t> own_runs;
    for (const std::size_t key : launch.key_order) own_runs.push_back(add_own_run(keys_.chunks()[key], meetings[key]));
    add_tiles(own_runs);
    list_.launch_ends.push_back(std::ssize(list_.tiles));
  }

  RowRun whole(const ChunkRows& chunk) const {
    return {.first_row = chunk.first_row.value, .first_position = chunk.positions.begin.value, .count = num_rows(chunk)};
  }

  /// For each query head of a KV head's group.
  void append_for_group(Meeting meeting, std::vector<Meeting>& meetings) const {
    for (std::int64_t offset = 0; offset < pattern_.shape().heads_per_kv_head(); ++offset) {
      meeting.head_offset = static_cast<std::int32_t>(offset);
      meetings.push_back(meeting);
    }
  }

  std::int32_t add_own_run(const ChunkRows& chunk, const std::vector<Meeting>& meetings) {
    const auto first = static_cast<std::int32_t>(list_.meetings.size());
    list_.meetings.insert(list_.meetings.end(), meetings.begin(), meetings.end());
    list_.own_runs.push_back({.rows = whole(chunk), .first_meeting = first, .end_meeting = static_cast<std::int32_t>(list_.meetings.size())});
    return static_cast<std::int32_t>(list_.own_runs.size() - 1);
  }

  void add_tiles(const std::vector<std::int32_t>& own_runs) {
    const Shape& shape = pattern_.shape();
    for (std::int32_t batch = 0; batch < shape.batch; ++batch) {
      for (std::int32_t head = 0; head < shape.kv_heads; ++head) {
        for (const std::int32_t run : own_runs) {
          const auto count = static_cast<std::int32_t>(ceil_div(list_.own_runs[static_cast<std::size_t>(run)].rows.count, tile_rows_.own));
          for (std::int32_t tile = 0; tile < count; ++tile) list_.tiles.push_back({.own_run = run, .tile = tile, .batch = batch, .head = head});
        }
      }
    }
  }

  const Pattern& pattern_;
  TileRows tile_rows_;
  ChunkNumbers queries_, keys_;
  std::vector<std::int32_t> first_turns_;  ///< of each query chunk: its first counter
  WorkList list_;
};

}  // namespace

WorkList make_turn_list(const Pattern& pattern, std::span<const ChunkPair> pairs, TileRows tile_rows) {
  return TurnListBuilder(pattern, tile_rows).build(pairs);
}

}  // namespace hilbertring

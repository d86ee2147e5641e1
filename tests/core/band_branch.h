#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "core/pattern.h"

namespace hilbertring {

/// Keys not farther than `radius` from the query, in blocks that are not full products: a kind of branch that no specification names.
class Band final : public Branch {
 public:
  Band(std::int64_t radius, std::int64_t num_tokens) : radius_(radius), num_tokens_(num_tokens) {}

  bool has_head(std::int64_t head) const override { return head != 1; }
  std::int64_t head_kind(std::int64_t head) const override { return head == 1 ? 0 : 1; }
  bool allows(std::int64_t, Position query, Position key) const override { return std::abs(query - key) <= radius_; }
  void append_blocks(std::int64_t, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const override {
    // Cut at every 50th query, so that blocks overlap neither in pairs nor in the order of keys.
    for (Position begin = queries.begin; begin < queries.end; begin = begin + 50) {
      const Range<Position> piece{begin, std::min(begin + 50, queries.end)};
      const Range<Position> near = intersection(key_hull(piece), keys);
      if (near.is_empty()) continue;
      blocks.push_back({.queries = run_of(piece), .keys = run_of(near), .all_pairs = false});
    }
  }
  void append_needed_keys(std::int64_t, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override {
    runs.push_back(run_of(intersection(key_hull(queries), keys)));
  }
  void append_needed_queries(std::int64_t, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override {
    runs.push_back(run_of(intersection(query_hull(keys), queries)));
  }
  Range<Position> key_hull(Range<Position> queries) const override {
    return intersection(Range<Position>{queries.begin - radius_, queries.end + radius_}, {Position(0), Position(num_tokens_)});
  }
  Range<Position> query_hull(Range<Position> keys) const override { return key_hull(keys); }

 private:
  static Run run_of(Range<Position> range) { return {.first = range.begin, .stride = 1, .count = range.size()}; }

  std::int64_t radius_, num_tokens_;
};

}  // namespace hilbertring

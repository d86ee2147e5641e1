#include "core/pattern.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <utility>

#include "core/allowed_pairs.h"
#include "core/dilated_segment.h"

namespace hilbertring {

namespace {

std::vector<std::unique_ptr<const Branch>> make_branches(const Specification& specification, const Shape& shape) {
  std::vector<std::unique_ptr<const Branch>> branches;
  const auto num_branches = static_cast<std::int64_t>(specification.segment_lengths.size());
  for (std::int64_t index = 0; index < num_branches; ++index) branches.push_back(make_dilated_segment(specification, shape, index));
  return branches;
}

/// A branch as some of its heads see it: they are counted from `first_head` on.
class HeadsFrom final : public Branch {
 public:
  HeadsFrom(std::unique_ptr<const Branch> whole, std::int64_t first_head) : whole_(std::move(whole)), first_head_(first_head) {}

  bool has_head(std::int64_t head) const override { return whole_->has_head(first_head_ + head); }
  std::int64_t head_kind(std::int64_t head) const override { return whole_->head_kind(first_head_ + head); }
  bool allows(std::int64_t head, Position query, Position key) const override { return whole_->allows(first_head_ + head, query, key); }
  void append_blocks(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const override {
    whole_->append_blocks(first_head_ + head, queries, keys, blocks);
  }
  void append_needed_keys(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override {
    whole_->append_needed_keys(first_head_ + head, queries, keys, runs);
  }
  void append_needed_queries(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override {
    whole_->append_needed_queries(first_head_ + head, queries, keys, runs);
  }
  std::int64_t convex_length() const override { return whole_->convex_length(); }
  Range<Position> key_hull(Range<Position> queries) const override { return whole_->key_hull(queries); }
  Range<Position> query_hull(Range<Position> keys) const override { return whole_->query_hull(keys); }

 private:
  std::unique_ptr<const Branch> whole_;
  std::int64_t first_head_;
};

std::vector<std::unique_ptr<const Branch>> make_branches_from(const Specification& specification, const Shape& whole, std::int64_t first_head) {
  std::vector<std::unique_ptr<const Branch>> branches;
  for (auto& branch : make_branches(specification, whole)) branches.push_back(std::make_unique<HeadsFrom>(std::move(branch), first_head));
  return branches;
}

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> count = 0;
  return ++count;
}

/// Sum over i in [0, n) of floor((a i + b) / m), for n, a, b >= 0 and m >= 1, in O(log m).
std::int64_t sum_of_floors(std::int64_t n, std::int64_t m, std::int64_t a, std::int64_t b) {
  const std::int64_t whole = n * (n - 1) / 2 * (a / m) + n * (b / m);
  a %= m;
  b %= m;
  // What is left counts lattice points (i, y), 1 <= y <= (a i + b) / m. Row y = top / m - j has floor((top % m + m j) / a) of them, counted from i =
  // n downwards: a sum of the same kind with the slope turned over.
  const std::int64_t top = a * n + b;
  return top < m ? whole : whole + sum_of_floors(top / m, a, m, top % m);
}

/// Number of elements of `run` below `bound`.
std::int64_t count_below(const Run& run, Position bound) {
  return bound <= run.first ? 0 : std::min(run.count, ceil_div(bound - run.first, run.stride));
}

/// Times of a block's rows and columns under sequence causality: views of the caller's ranges.
class SequenceTimes {
 public:
  SequenceTimes(Position begin, std::span<const std::int64_t> times) : begin_(begin), times_(times) {}

  std::int64_t operator[](Position p) const { return times_[static_cast<std::size_t>(p - begin_)]; }
  std::vector<std::int64_t> sorted(const Run& run) const {
    std::vector<std::int64_t> result(static_cast<std::size_t>(run.count));
    for (std::int64_t i = 0; i < run.count; ++i) result[static_cast<std::size_t>(i)] = (*this)[run[i]];
    if (!std::is_sorted(result.begin(), result.end())) std::sort(result.begin(), result.end());
    return result;
  }

 private:
  Position begin_;
  std::span<const std::int64_t> times_;
};

std::int64_t count_by_merging(const Pattern& pattern, std::span<const std::int64_t> query_times, std::span<const std::int64_t> key_times) {
  const auto num_keys = static_cast<std::int64_t>(key_times.size());
  switch (pattern.causal_class(query_times.front(), query_times.back(), key_times.front(), key_times.back())) {
    case TileClass::kEmpty: return 0;
    case TileClass::kFull: return static_cast<std::int64_t>(query_times.size()) * num_keys;
    case TileClass::kPartial: break;
  }
  std::int64_t count = 0;
  std::size_t num_visible = 0;
  for (const std::int64_t query_time : query_times) {
    while (num_visible < key_times.size() && Pattern::causality_allows(query_time, key_times[num_visible])) ++num_visible;
    count += static_cast<std::int64_t>(num_visible);
  }
  return count;
}

/// Counts the allowed pairs of blocks; keeps what it needs of the ranges that the blocks come from.
class PairCounter {
 public:
  PairCounter(const Pattern& pattern, SequenceTimes query_times, SequenceTimes key_times)
      : pattern_(pattern), query_times_(query_times), key_times_(key_times) {}

  std::int64_t count(const Branch& branch, std::int64_t head, const Block& block) const {
    if (!block.all_pairs) return count_one_by_one(branch, head, block);
    switch (pattern_.causal()) {
      case Causal::kNone: return block.queries.count * block.keys.count;
      case Causal::kPosition: return count_causal_pairs(block.queries, block.keys);
      case Causal::kSequence: break;
    }
    return count_by_merging(pattern_, query_times_.sorted(block.queries), key_times_.sorted(block.keys));
  }

  AllowedPairs count_by_kind(const Branch& branch, std::int64_t head, const Block& block) const {
    const std::int64_t pairs = count(branch, head, block);
    if (block.queries.stride > 1 || block.keys.stride > 1) return {.dilated = pairs};
    const bool is_whole = pairs == block.queries.count * block.keys.count;
    return is_whole ? AllowedPairs{.whole = pairs} : AllowedPairs{.cut = pairs};
  }

 private:
  std::int64_t count_one_by_one(const Branch& branch, std::int64_t head, const Block& block) const {
    std::int64_t num_allowed = 0;
    for (std::int64_t i = 0; i < block.queries.count; ++i) {
      for (std::int64_t j = 0; j < block.keys.count; ++j) {
        const Position query = block.queries[i];
        const Position key = block.keys[j];
        num_allowed += branch.allows(head, query, key) && causality_allows(query, key) ? 1 : 0;
      }
    }
    return num_allowed;
  }
  bool causality_allows(Position query, Position key) const {
    switch (pattern_.causal()) {
      case Causal::kNone: return true;
      case Causal::kPosition: return Pattern::causality_allows(query.value, key.value);
      case Causal::kSequence: break;
    }
    return Pattern::causality_allows(query_times_[query], key_times_[key]);
  }

  const Pattern& pattern_;
  SequenceTimes query_times_;
  SequenceTimes key_times_;
};

}  // namespace

Pattern::Pattern(const Specification& specification, const Shape& shape)
    : Pattern(shape, specification.causal, make_branches(specification, shape)) {}

Pattern::Pattern(const Specification& specification, const Shape& whole, const Shape& part, std::int64_t first_head)
    : Pattern(part, specification.causal, make_branches_from(specification, whole, first_head)) {}

Pattern::Pattern(const Shape& shape, Causal causal, std::vector<std::unique_ptr<const Branch>> branches)
    : id_(next_id()), shape_(shape), causal_(causal), branches_(std::move(branches)) {
  std::map<std::vector<std::int64_t>, std::int64_t> class_of_kinds;
  for (std::int64_t head = 0; head < shape_.heads; ++head) {
    std::vector<std::int64_t> kinds;
    for (const auto& branch : branches_) kinds.push_back(branch->head_kind(head));
    head_class_.push_back(class_of_kinds.try_emplace(std::move(kinds), static_cast<std::int64_t>(class_of_kinds.size())).first->second);
  }
  num_head_classes_ = static_cast<std::int64_t>(class_of_kinds.size());
}

TileClass Pattern::causal_class(std::int64_t min_query_time, std::int64_t max_query_time, std::int64_t min_key_time,
                                std::int64_t max_key_time) const {
  return is_causal() ? class_of_times(min_query_time, max_query_time, min_key_time, max_key_time) : TileClass::kFull;
}

std::int64_t count_causal_pairs(const Run& queries, const Run& keys) {
  if (queries.count == 0 || keys.count == 0) return 0;
  // Queries before the first key see none, those from the last key on see all, and a query between them sees floor((q - first key) / stride) + 1.
  const std::int64_t num_before = count_below(queries, keys.first);
  const std::int64_t num_up_to_last = count_below(queries, keys[keys.count - 1]);
  const std::int64_t num_between = num_up_to_last - num_before;
  const std::int64_t seen_by_rest = (queries.count - num_up_to_last) * keys.count;
  if (num_between == 0) return seen_by_rest;
  return seen_by_rest + num_between + sum_of_floors(num_between, keys.stride, queries.stride, queries[num_before] - keys.first);
}

AllowedPairs count_allowed_pairs_by_kind(const Pattern& pattern, Range<Position> queries, Range<Position> keys,
                                         std::span<const std::int64_t> query_times, std::span<const std::int64_t> key_times) {
  const PairCounter counter(pattern, SequenceTimes(queries.begin, query_times), SequenceTimes(keys.begin, key_times));
  // The heads of a class have the same pairs: the first of them is counted, and its count stands for the others.
  std::vector<std::optional<AllowedPairs>> count_of_class(static_cast<std::size_t>(pattern.num_head_classes()));
  std::vector<Block> blocks;
  AllowedPairs total;
  for (std::int64_t head = 0; head < pattern.shape().heads; ++head) {
    std::optional<AllowedPairs>& count = count_of_class[static_cast<std::size_t>(pattern.head_class(head))];
    if (!count) {
      count.emplace();
      for (std::int64_t index = 0; index < pattern.num_branches(); ++index) {
        const Branch& branch = pattern.branch(index);
        if (!branch.has_head(head)) continue;
        blocks.clear();
        branch.append_blocks(head, queries, keys, blocks);
        for (const Block& block : blocks) *count += counter.count_by_kind(branch, head, block);
      }
    }
    total += *count;
  }
  return total;
}

std::int64_t count_allowed_pairs(const Pattern& pattern, Range<Position> queries, Range<Position> keys, std::span<const std::int64_t> query_times,
                                 std::span<const std::int64_t> key_times) {
  return count_allowed_pairs_by_kind(pattern, queries, keys, query_times, key_times).total();
}

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/index.h"
#include "core/shape.h"
#include "core/specification.h"

namespace hilbertring {

/// Positions first, first + stride, ..., `count` of them.
struct Run {
  Position first;
  std::int64_t stride = 1;
  std::int64_t count = 0;

  Position operator[](std::int64_t i) const { return first + i * stride; }
  friend bool operator==(const Run&, const Run&) = default;
};

/// A product of query positions and key positions. Its allowed pairs, before causality: all of them, or those for which `Branch::allows` holds.
struct Block {
  Run queries;
  Run keys;
  bool all_pairs = true;

  friend bool operator==(const Block&, const Block&) = default;
};

/// One way in which queries attend to keys, before causality. A further kind of branch is one more subclass (and its line in Pattern's constructor):
/// kernels, schedule, cost model and reference know nothing but this interface.
class Branch {
 public:
  virtual ~Branch() = default;

  /// Whether the query head takes part in the branch.
  virtual bool has_head(std::int64_t head) const = 0;
  /// Heads of equal kind have the same allowed pairs in this branch; heads that take no part are one kind.
  virtual std::int64_t head_kind(std::int64_t head) const = 0;
  /// Whether a query attends to a key, for a head that takes part.
  virtual bool allows(std::int64_t head, Position query, Position key) const = 0;
  /// Appends products that hold every allowed pair of the two ranges exactly once, and in the order in which keys must be folded
  /// (for any one query its keys ascend). For a head that takes part.
  virtual void append_blocks(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const = 0;
  /// Appends, as disjoint runs, the keys of `keys` that some query of `queries` may attend to.
  virtual void append_needed_keys(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const = 0;
  /// Appends, as disjoint runs, the queries of `queries` that may attend to some key of `keys`.
  virtual void append_needed_queries(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const = 0;
  /// A length L such that: if two queries both may attend to a key, then among any L neighbouring positions between them some query may, too
  /// (likewise with queries and keys exchanged). It lets the schedule skip ranks that must need the same rows. Pair by pair is the default.
  virtual std::int64_t convex_length() const { return std::numeric_limits<std::int64_t>::max(); }
  /// A range, told in O(1), that holds all keys that queries in the range may attend to, whatever the head; empty for an empty range.
  virtual Range<Position> key_hull(Range<Position> queries) const = 0;
  /// Likewise, all queries that may attend to some key in the range.
  virtual Range<Position> query_hull(Range<Position> keys) const = 0;
};

/// What causality says about a product of queries and keys.
enum class TileClass { kEmpty, kFull, kPartial };

/// Everything that decides which query may see which key. The only place that knows.
class Pattern {
 public:
  /// `specification` has been validated against `shape`.
  Pattern(const Specification& specification, const Shape& shape);
  /// The same pattern for some of its heads: `part` has the shape of a problem with heads first_head, first_head + 1, ... of `whole` alone.
  Pattern(const Specification& specification, const Shape& whole, const Shape& part, std::int64_t first_head);
  /// A pattern of branches that no specification names (yet): for new kinds of branches and their tests.
  Pattern(const Shape& shape, Causal causal, std::vector<std::unique_ptr<const Branch>> branches);

  /// No two patterns that the program makes have the same.
  std::uint64_t id() const { return id_; }
  const Shape& shape() const { return shape_; }
  Causal causal() const { return causal_; }
  std::int64_t num_branches() const { return static_cast<std::int64_t>(branches_.size()); }
  const Branch& branch(std::int64_t index) const { return *branches_[static_cast<std::size_t>(index)]; }

  /// Causality compares "times": the key's must not exceed the query's. A time is the sequence index (kSequence) or the position (kPosition);
  /// with kNone nobody asks.
  bool is_causal() const { return causal_ != Causal::kNone; }
  static constexpr bool causality_allows(std::int64_t query_time, std::int64_t key_time) { return key_time <= query_time; }
  /// Class of a tile under causality, from the extremes of its times. Device code asks here, too.
  static constexpr TileClass class_of_times(std::int64_t min_query_time, std::int64_t max_query_time, std::int64_t min_key_time,
                                            std::int64_t max_key_time) {
    if (causality_allows(min_query_time, max_key_time)) return TileClass::kFull;
    return causality_allows(max_query_time, min_key_time) ? TileClass::kPartial : TileClass::kEmpty;
  }
  /// The same for this pattern's causality: without any, every tile is full.
  TileClass causal_class(std::int64_t min_query_time, std::int64_t max_query_time, std::int64_t min_key_time, std::int64_t max_key_time) const;

  /// Heads fall into classes whose members take part in the same branches with the same offsets; `head_class(h)` numbers them from 0.
  std::int64_t head_class(std::int64_t head) const { return head_class_[static_cast<std::size_t>(head)]; }
  std::int64_t num_head_classes() const { return num_head_classes_; }

 private:
  std::uint64_t id_;
  Shape shape_;
  Causal causal_;
  std::vector<std::unique_ptr<const Branch>> branches_;
  std::vector<std::int64_t> head_class_;
  std::int64_t num_head_classes_ = 0;
};

/// Number of pairs (key, query) of two strided sets of times with key_time <= query_time, where both ascend. Used where times are positions.
std::int64_t count_causal_pairs(const Run& queries, const Run& keys);

/// Allowed pairs of all heads and one batch element between two ranges of positions, counted with multiplicity. With sequence causality the times
/// (one per position of the range) must be given; otherwise they are ignored and may be empty.
std::int64_t count_allowed_pairs(const Pattern& pattern, Range<Position> queries, Range<Position> keys, std::span<const std::int64_t> query_times,
                                 std::span<const std::int64_t> key_times);

}  // namespace hilbertring

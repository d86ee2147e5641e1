#pragma once

#include <cstdint>
#include <vector>

#include "core/pattern.h"
#include "hilbert/order.h"
#include "ring/placement.h"

namespace hilbertring {

/// Which side's rows are meant.
enum class Side { kKeys, kQueries };

/// A set of positions, as runs that may overlap.
using RowSet = std::vector<Run>;

/// Number of distinct positions of the runs.
std::int64_t count_distinct(const RowSet& runs);

/// Which rows of one rank another rank may need: asks the pattern, and the orders for sequence causality. Pure.
class Needs {
 public:
  /// The pattern and the placement must outlive it.
  Needs(const Pattern& pattern, const Orders& orders, const ChunkPlacement& placement);
  /// For some of the heads of the whole's pattern, on the same ranks; `placement` equals the whole's.
  Needs(const Pattern& part, const ChunkPlacement& placement, const Needs& whole);

  /// Heads of a side (KV heads or query heads) fall into classes whose members need the same rows.
  std::int64_t num_classes(Side side) const { return static_cast<std::int64_t>(classes(side).size()); }
  std::int64_t class_of(Side side, std::int64_t head) const;
  std::int64_t class_size(Side side, std::int64_t head_class) const;

  /// Rows of `owner` (side kKeys: its keys, kQueries: its queries) that `visitor` may need for heads of the class.
  RowSet rows(Side side, std::int64_t head_class, Rank owner, Rank visitor) const;
  /// Whether a rank between two ranks that need the same rows of a third (and not on the other side of it) must need them as well.
  bool is_convex() const { return is_convex_; }
  /// Whether a query chunk may need anything of a key chunk. If so, every row concerned is in `rows`.
  bool is_needed(Chunk queries, Chunk keys) const;

 private:
  struct HeadClass {
    std::vector<std::int64_t> query_heads;  ///< one representative for each kind of query head in the class
    std::int64_t size = 0;                  ///< heads of the side in the class
  };
  const std::vector<HeadClass>& classes(Side side) const { return side == Side::kKeys ? key_classes_ : query_classes_; }
  void make_classes();
  void find_times(const Orders& orders);
  bool find_convexity() const;
  std::vector<Range<Position>> admissible_spans(Side side, Rank owner, Rank visitor, Range<Position> visitor_span) const;
  void append_admissible_chunks(Side side, Range<Position> span, Rank visitor, std::vector<Range<Position>>& spans) const;
  void append_rows(Side side, std::int64_t head_class, Range<Position> owner_span, Range<Position> visitor_span, RowSet& rows) const;

  const Pattern& pattern_;
  const ChunkPlacement& placement_;
  std::vector<std::vector<Range<Position>>> spans_;  ///< of each rank
  bool is_convex_;
  std::vector<HeadClass> key_classes_, query_classes_;
  std::vector<std::int64_t> key_class_of_, query_class_of_;
  /// Sequence causality only: the first time of the keys and the last time of the queries, per chunk and per rank.
  std::vector<std::int64_t> first_key_time_, last_query_time_;
  std::vector<std::int64_t> rank_first_key_time_, rank_last_query_time_;
};

}  // namespace hilbertring

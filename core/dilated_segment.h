#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/pattern.h"

namespace hilbertring {

/// Positions are cut into segments of w tokens; a key belongs to the branch if (p mod w) mod r is the head's offset, and a query attends to the keys
/// of its own segment (LongNet, arXiv 2307.02486, section 2.2; SPEC.md section 3).
class DilatedSegment final : public Branch {
 public:
  /// w is clipped to N; r >= 1. `offsets` has one entry per query head: the head's offset, or `kAbsent` for a head that takes no part.
  DilatedSegment(std::int64_t segment_length, std::int64_t dilation_rate, Dilate dilate, std::int64_t num_tokens, std::vector<std::int64_t> offsets);

  static constexpr std::int64_t kAbsent = -1;

  bool has_head(std::int64_t head) const override { return offset(head) != kAbsent; }
  std::int64_t head_kind(std::int64_t head) const override { return offset(head); }
  bool allows(std::int64_t head, Position query, Position key) const override;
  void append_blocks(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const override;
  void append_needed_keys(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override;
  void append_needed_queries(std::int64_t head, Range<Position> queries, Range<Position> keys, std::vector<Run>& runs) const override;
  Range<Position> key_hull(Range<Position> queries) const override;
  Range<Position> query_hull(Range<Position> keys) const override;
  std::int64_t convex_length() const override { return dilation_rate_; }

 private:
  std::int64_t offset(std::int64_t head) const { return offsets_[static_cast<std::size_t>(head)]; }
  std::int64_t segment_of(Position p) const { return p.value / segment_length_; }
  Range<Position> segment(std::int64_t index) const;
  bool is_on_grid(std::int64_t head, Position p) const;
  /// Positions of `range`, a part of one segment, that lie on the head's dilation grid.
  Run dilated_run(std::int64_t head, Range<Position> range) const;
  /// All segments that a nonempty range touches, as one range.
  Range<Position> touched_segments(Range<Position> range) const;
  /// The product of the part of `queries` and the part of `keys` that lie in one segment; a count may be 0.
  Block segment_block(std::int64_t head, std::int64_t segment_index, Range<Position> queries, Range<Position> keys) const;
  /// Calls `visit(block)` for every segment that has queries in `queries` and keys in `keys`, segments ascending.
  template <class Visit>
  void for_each_block(std::int64_t head, Range<Position> queries, Range<Position> keys, Visit&& visit) const;

  std::int64_t segment_length_;
  std::int64_t dilation_rate_;
  Dilate dilate_;
  std::int64_t num_tokens_;
  std::vector<std::int64_t> offsets_;
};

/// Branch `index` of the specification's lists, with the heads that `branch_heads` gives it and the offsets that `offset` gives them.
std::unique_ptr<const Branch> make_dilated_segment(const Specification& specification, const Shape& shape, std::int64_t index);

}  // namespace hilbertring

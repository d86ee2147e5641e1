#pragma once

#include <cstdint>
#include <vector>

#include "core/block_attention.h"
#include "core/index.h"
#include "core/specification.h"

namespace hilbertring {

/// Chunks -> units -> ranks, and where each chunk lies in its rank's buffers. A pure function of its arguments.
///
/// Worked example, 12 tokens, chunk = 2 (chunks 0..5), P = 2:
///   contiguous: units 0..5 = chunks 0..5;                 rank 0: units 0-2, rows = positions 0-5;  rank 1: units 3-5, positions 6-11
///   zigzag:     units 0..2 = chunks {0,5} {1,4} {2,3};    rank 0: units 0-1, rows = positions 0-3, 8-11;  rank 1: unit 2, positions 4-7
class ChunkPlacement {
 public:
  ChunkPlacement(std::int64_t num_tokens, std::int64_t chunk, Placement placement, std::int64_t num_ranks);

  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t num_ranks() const { return num_ranks_; }
  std::int64_t num_chunks() const { return ceil_div(num_tokens_, chunk_); }
  std::int64_t num_units() const { return placement_ == Placement::kZigzag ? ceil_div(num_chunks(), 2) : num_chunks(); }

  Range<Position> positions(Chunk c) const;
  /// Chunks of a unit, ascending: one, or (zigzag) two.
  std::vector<Chunk> chunks(Unit u) const;
  /// The run of units that a rank holds; the first (units mod P) ranks hold one more.
  Range<Unit> units(Rank k) const;
  Rank owner(Unit u) const;

  /// Positions that a rank holds, as one or (zigzag) two disjoint ascending ranges: its rows, in this order.
  std::vector<Range<Position>> spans(Rank k) const;
  std::int64_t num_rows(Rank k) const;
  std::int64_t max_rows() const;
  /// Where a chunk that rank k holds lies in k's buffers.
  ChunkRows rows(Rank k, Chunk c) const;

 private:
  std::int64_t num_tokens_;
  std::int64_t chunk_;
  Placement placement_;
  std::int64_t num_ranks_;
};

}  // namespace hilbertring

#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "hilbert/frame.h"

namespace hilbertring {

/// Largest number of cells of a grid, and of tokens: leaves room for the small multiples of lengths that the curves compare.
constexpr std::int64_t kMaxCells = std::int64_t{1} << 60;

/// Plane, row, column.
using Cell = std::array<std::int64_t, 3>;

/// Cells begin <= cell < end, on each side.
struct CellBox {
  Cell begin, end;
};

/// A grid of planes x rows x columns whose first `num_tokens` cells, row-major, hold tokens: cell index = sequence index. The rest are skipped.
/// All geometry is plain int64; every member function is O(1).
class Grid {
 public:
  /// `sides`: {rows, cols} or {planes, rows, cols}. Throws usage_error unless there are 2 or 3 sides, all positive, with num_tokens to kMaxCells
  /// cells.
  Grid(const std::vector<std::int64_t>& sides, std::int64_t num_tokens);

  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t num_cells() const { return sides_[0] * sides_[1] * sides_[2]; }
  const Cell& sides() const { return sides_; }
  /// Side `side` walked forward.
  Axis axis(int side) const { return {sides_[static_cast<std::size_t>(side)], strides_[static_cast<std::size_t>(side)], side}; }

  Cell cell(std::int64_t index) const;
  std::int64_t index(const Cell& cell) const { return cell[0] * strides_[0] + cell[1] * strides_[1] + cell[2]; }
  /// The cells of a frame.
  CellBox box(const Frame& frame) const;
  /// How many cells of a box hold tokens, in closed form: full planes, then full rows and the one partial row of the plane where the tokens end.
  std::int64_t num_tokens_in(const CellBox& box) const;
  /// The largest sequence index in a box that holds at least one token.
  std::int64_t last_token_in(const CellBox& box) const;

 private:
  Cell sides_;
  Cell strides_;
  std::int64_t num_tokens_;
  Cell limit_;  ///< first cell without a token; its plane is sides_[0] when the grid is full
};

bool contains(const CellBox& box, const Cell& cell);
/// Sum over the sides of the distance between two cells.
std::int64_t manhattan_distance(const Cell& a, const Cell& b);

}  // namespace hilbertring

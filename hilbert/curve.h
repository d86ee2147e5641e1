#pragma once

#include <cstdint>
#include <span>

#include "core/specification.h"
#include "hilbert/frame.h"
#include "hilbert/grid.h"

namespace hilbertring {

/// A curve through the cells of a grid that hold tokens: place on the curve <-> cell index. No table: the split rule is followed from the whole grid
/// down to a line of cells, and a frame's tokens are counted in closed form, so that cells without a token cost nothing. Immutable.
///
/// Example, hilbert on 4 x 4 with 14 tokens (cells 14 and 15 are skipped):
///     place  0 1 2 3 4 5  6  7  8  9 10 11 12 13
///     cell   0 1 5 4 8 12 13 9 10 11  7  6  2  3
class GridCurve {
 public:
  /// `curve` is kHilbert, kSnake or kMorton. The hilbert curve enters at cell 0 and runs along the longest side (of equal ones columns, then rows).
  GridCurve(Curve curve, const Grid& grid);

  std::int64_t num_tokens() const { return grid_.num_tokens(); }
  /// O(log N); 0 <= place < num_tokens().
  std::int64_t cell_at(std::int64_t place) const;
  /// O(log N); 0 <= cell < num_tokens().
  std::int64_t place_of(std::int64_t cell) const;
  /// out[i] = base + cell at place begin + i. O(log N + out.size()): one walk that leaves out what lies before `begin`.
  void fill(std::int64_t begin, std::int64_t base, std::span<std::int64_t> out) const;

  struct Extremes {
    std::int64_t lowest, highest;
  };
  /// Smallest and largest cell index of places begin <= place < end, begin < end. O(log N): whole frames by their corners, one path down at each end.
  Extremes extremes(std::int64_t begin, std::int64_t end) const;

 private:
  /// A frame and how many tokens it has.
  struct Part {
    Frame frame;
    std::int64_t num_tokens;
    bool is_full() const { return num_tokens == frame.num_cells(); }
  };
  class Filler;
  class ExtremesFinder;

  Part root() const;
  /// A child of a part; a child of a full part is full, and needs no counting.
  Part child(const Part& parent, const Frame& frame) const;
  /// Cell `place` of a line, among those that hold a token.
  static std::int64_t cell_of_line(const Part& line, std::int64_t place);
  /// How many cells without a token lie before the first token of a line.
  static std::int64_t num_skipped(const Part& line);

  Grid grid_;
  SplitRule split_;
  Frame whole_;
};

}  // namespace hilbertring

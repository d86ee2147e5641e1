#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace hilbertring {

/// One side of a frame: `length` cells, each `step` cell indices after the one before it (negative: against the grid), along side `side` of the grid.
struct Axis {
  std::int64_t length;
  std::int64_t step;
  int side;  ///< 0 planes, 1 rows, 2 columns
};

/// The first `length` cells of an axis, what follows them, and the same line walked the other way.
constexpr Axis head(Axis a, std::int64_t length) { return {length, a.step, a.side}; }
constexpr Axis rest(Axis a, std::int64_t length) { return {a.length - length, a.step, a.side}; }
constexpr Axis reversed(Axis a) { return {a.length, -a.step, a.side}; }
/// Cell index difference between the first and the last cell of an axis.
constexpr std::int64_t extent(Axis a) { return (a.length - 1) * a.step; }

/// A box of the grid as a curve sees it: the cell where it enters, and the directions in which the box lies from there. A curve runs from `start`
/// along `main` to the corner at the end of `main`, as far as its rule and parity allow. Members have no defaults: the walk makes tens of millions.
struct Frame {
  std::int64_t start;  ///< cell index
  Axis main, second, third;

  std::int64_t num_cells() const { return main.length * second.length * third.length; }
  /// At most one side is longer than a cell.
  bool is_line() const { return num_cells() == std::max({main.length, second.length, third.length}); }
  /// The side of a line that is longer than a cell (any side of a single cell).
  Axis line() const { return main.length > 1 ? main : second.length > 1 ? second : third; }
  /// Smallest and largest cell index.
  std::int64_t lowest() const { return start + low(main) + low(second) + low(third); }
  std::int64_t highest() const { return start + high(main) + high(second) + high(third); }

 private:
  static std::int64_t low(Axis a) { return a.step < 0 ? extent(a) : 0; }
  static std::int64_t high(Axis a) { return a.step > 0 ? extent(a) : 0; }
};

/// The frames that a frame is cut into, in the order in which the curve visits them.
class Children {
 public:
  void add(const Frame& frame) { frames_[static_cast<std::size_t>(size_++)] = frame; }
  const Frame* begin() const { return frames_.data(); }
  const Frame* end() const { return frames_.data() + size_; }

 private:
  std::array<Frame, 5> frames_;
  int size_ = 0;
};

/// Cuts a frame that is no line into at least two frames, none of them empty: the rule that makes one curve. A pure function.
using SplitRule = void (*)(const Frame& frame, Children& children);

}  // namespace hilbertring

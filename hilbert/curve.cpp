#include "hilbert/curve.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "hilbert/box.h"

namespace hilbertring {
namespace {

constexpr int kPlanes = 0, kRows = 1, kColumns = 2;

/// Boustrophedon: main and second turn round whenever an odd number of their lines has been walked.
void split_snake(const Frame& frame, Children& children) {
  Frame first = frame, last = frame;
  if (frame.third.length > 1) {
    const std::int64_t half = frame.third.length / 2;
    first.third = head(frame.third, half);
    last.third = rest(frame.third, half);
    last.start += half * frame.third.step;
    if (half % 2 != 0) {
      last.start += extent(frame.second);
      last.second = reversed(frame.second);
    }
    if (half * frame.second.length % 2 != 0) {
      last.start += extent(frame.main);
      last.main = reversed(frame.main);
    }
  } else {
    const std::int64_t half = frame.second.length / 2;
    first.second = head(frame.second, half);
    last.second = rest(frame.second, half);
    last.start += half * frame.second.step;
    if (half % 2 != 0) {
      last.start += extent(frame.main);
      last.main = reversed(frame.main);
    }
  }
  children.add(first);
  children.add(last);
}

/// Z-order: the highest bit in which cells of the frame differ, and on a tie that of the plane before the row before the column. The frame is a
/// Z-order block clipped to the grid: it starts at a multiple of the block, so its lengths alone tell which bit that is, and neither half is empty.
void split_morton(const Frame& frame, Children& children) {
  const std::int64_t longest = std::max({frame.main.length, frame.second.length, frame.third.length});
  const auto half = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(longest - 1)));
  Frame first = frame, last = frame;
  for (Axis Frame::*side : {&Frame::third, &Frame::second, &Frame::main}) {
    const Axis axis = frame.*side;
    if (axis.length <= half) continue;
    first.*side = head(axis, half);
    last.*side = rest(axis, half);
    last.start += half * axis.step;
    break;
  }
  children.add(first);
  children.add(last);
}

SplitRule split_rule(Curve curve) {
  if (curve == Curve::kSnake) return split_snake;
  if (curve == Curve::kMorton) return split_morton;
  return split_hilbert;
}

Frame whole_grid(Curve curve, const Grid& grid) {
  Frame frame{0, grid.axis(kColumns), grid.axis(kRows), grid.axis(kPlanes)};
  if (curve != Curve::kHilbert) return frame;
  // Longest side first; equal sides stay in the order above.
  if (frame.second.length > frame.main.length) std::swap(frame.main, frame.second);
  if (frame.third.length > frame.second.length) std::swap(frame.second, frame.third);
  if (frame.second.length > frame.main.length) std::swap(frame.main, frame.second);
  return frame;
}

}  // namespace

GridCurve::GridCurve(Curve curve, const Grid& grid) : grid_(grid), split_(split_rule(curve)), whole_(whole_grid(curve, grid)) {}

GridCurve::Part GridCurve::root() const { return {whole_, grid_.num_tokens()}; }

GridCurve::Part GridCurve::child(const Part& parent, const Frame& frame) const {
  return {frame, parent.is_full() ? frame.num_cells() : grid_.num_tokens_in(grid_.box(frame))};
}

std::int64_t GridCurve::num_skipped(const Part& line) {
  // Tokens are the cells of small index: the first of a line that ascends, the last of one that descends.
  return line.frame.line().step < 0 ? line.frame.num_cells() - line.num_tokens : 0;
}

std::int64_t GridCurve::cell_of_line(const Part& line, std::int64_t place) {
  return line.frame.start + (num_skipped(line) + place) * line.frame.line().step;
}

std::int64_t GridCurve::cell_at(std::int64_t place) const {
  Part part = root();
  while (!part.frame.is_line()) {
    Children children;
    split_(part.frame, children);
    for (const Frame& frame : children) {
      const Part next = child(part, frame);
      if (place < next.num_tokens) {
        part = next;
        break;
      }
      place -= next.num_tokens;
    }
  }
  return cell_of_line(part, place);
}

std::int64_t GridCurve::place_of(std::int64_t index) const {
  const Cell cell = grid_.cell(index);
  Part part = root();
  std::int64_t place = 0;
  while (!part.frame.is_line()) {
    Children children;
    split_(part.frame, children);
    for (const Frame& frame : children) {
      const Part next = child(part, frame);
      if (contains(grid_.box(frame), cell)) {
        part = next;
        break;
      }
      place += next.num_tokens;
    }
  }
  return place + (index - part.frame.start) / part.frame.line().step - num_skipped(part);
}

/// One walk along the curve: what lies before the range is left out frame by frame, the rest is written until `out` is full.
class GridCurve::Filler {
 public:
  Filler(const GridCurve& curve, std::int64_t begin, std::int64_t base, std::span<std::int64_t> out)
      : curve_(curve), num_before_(begin), base_(base), next_(out.data()), end_(out.data() + out.size()) {}

  void visit(const Part& part) {
    if (next_ == end_) return;
    if (num_before_ >= part.num_tokens) {
      num_before_ -= part.num_tokens;
    } else if (part.frame.is_line()) {
      write_line(part);
    } else if (num_before_ == 0 && part.is_full() && part.num_tokens <= end_ - next_) {
      write_all(part.frame);
    } else {
      Children children;
      curve_.split_(part.frame, children);
      for (const Frame& frame : children) visit(curve_.child(part, frame));
    }
  }

 private:
  void write_line(const Part& line) {
    const std::int64_t count = std::min<std::int64_t>(line.num_tokens - num_before_, end_ - next_);
    for (std::int64_t i = 0; i < count; ++i) *next_++ = base_ + cell_of_line(line, num_before_ + i);
    num_before_ = 0;
  }

  /// The hot path: a frame that is wanted whole, without counting.
  void write_all(const Frame& frame) {
    Children children;
    curve_.split_(frame, children);
    for (const Frame& child : children) {
      if (!child.is_line()) {
        write_all(child);
        continue;
      }
      const std::int64_t step = child.line().step, num_cells = child.num_cells();
      std::int64_t cell = base_ + child.start;
      for (std::int64_t i = 0; i < num_cells; ++i, cell += step) *next_++ = cell;
    }
  }

  const GridCurve& curve_;
  std::int64_t num_before_;
  std::int64_t base_;
  std::int64_t* next_;
  std::int64_t* end_;
};

void GridCurve::fill(std::int64_t begin, std::int64_t base, std::span<std::int64_t> out) const { Filler(*this, begin, base, out).visit(root()); }

/// Collects the extremes of the parts that make up a range of places.
class GridCurve::ExtremesFinder {
 public:
  explicit ExtremesFinder(const GridCurve& curve) : curve_(curve) {}

  /// `begin` and `end` are places inside the part.
  void visit(const Part& part, std::int64_t begin, std::int64_t end) {
    begin = std::max<std::int64_t>(begin, 0);
    end = std::min(end, part.num_tokens);
    if (begin >= end) return;
    if (begin == 0 && end == part.num_tokens) {
      add(part.frame.lowest());
      add(part.is_full() ? part.frame.highest() : curve_.grid_.last_token_in(curve_.grid_.box(part.frame)));
    } else if (part.frame.is_line()) {
      add(cell_of_line(part, begin));
      add(cell_of_line(part, end - 1));
    } else {
      Children children;
      curve_.split_(part.frame, children);
      for (const Frame& frame : children) {
        const Part next = curve_.child(part, frame);
        visit(next, begin, end);
        begin -= next.num_tokens;
        end -= next.num_tokens;
      }
    }
  }

  Extremes result() const { return result_; }

 private:
  void add(std::int64_t cell) { result_ = {std::min(result_.lowest, cell), std::max(result_.highest, cell)}; }

  const GridCurve& curve_;
  Extremes result_{std::numeric_limits<std::int64_t>::max(), -1};
};

GridCurve::Extremes GridCurve::extremes(std::int64_t begin, std::int64_t end) const {
  ExtremesFinder finder(*this);
  finder.visit(root(), begin, end);
  return finder.result();
}

}  // namespace hilbertring

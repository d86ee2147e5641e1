#include "hilbert/box.h"

#include <cstdint>
#include <limits>

#include "hilbert/rectangle.h"

namespace hilbertring {
namespace {

Frame with_cross_sides_swapped(const Frame& frame) { return {frame.start, frame.main, frame.third, frame.second}; }

/// Up second, along third, along main, back along third, down second. `second_length` and `main_length` as in split_u_turn.
void split_in_five(const Frame& frame, std::int64_t second_length, std::int64_t main_length, Children& children) {
  const Axis rise = head(frame.second, second_length), above = rest(frame.second, second_length);
  const Axis near = head(frame.third, frame.third.length / 2), far = rest(frame.third, frame.third.length / 2);
  const Axis first = head(frame.main, main_length), last = rest(frame.main, main_length);
  const std::int64_t to_far = extent(frame.third), to_end = extent(frame.main);

  children.add({frame.start, rise, near, first});
  children.add({frame.start + rise.length * rise.step, frame.third, first, above});
  children.add({frame.start + extent(rise) + to_far, frame.main, reversed(rise), reversed(far)});
  children.add({frame.start + to_end + rise.length * rise.step + to_far, reversed(frame.third), reversed(last), above});
  children.add({frame.start + to_end + extent(rise), reversed(rise), near, reversed(last)});
}

/// How far a box is from a path of unit steps between the ends of its main side. A main side of one cell would have to end where it starts.
std::int64_t misfit(const Frame& frame) {
  const std::int64_t face = frame.second.length * frame.third.length;
  if (frame.main.length == 1) return face == 1 ? 0 : face == 2 ? 1 : 3 * face;
  return frame.main.length % 2 != 0 && face % 2 == 0 ? 1 : 0;
}

std::int64_t misfit(const Children& children) {
  std::int64_t sum = 0;
  for (const Frame& child : children) sum += misfit(child);
  return sum;
}

/// Among cuts offered one after the other, the first with the smallest misfit.
class BestCut {
 public:
  explicit BestCut(Children& best) : best_(best) {}

  bool is_perfect() const { return misfit_ == 0; }
  void offer(const Children& cut) {
    const std::int64_t cut_misfit = misfit(cut);
    if (cut_misfit >= misfit_) return;
    misfit_ = cut_misfit;
    best_ = cut;
  }

 private:
  Children& best_;
  std::int64_t misfit_ = std::numeric_limits<std::int64_t>::max();
};

void split_round_box(const Frame& frame, Children& children) {
  BestCut best(children);
  for (const Frame& turned : {frame, with_cross_sides_swapped(frame)}) {
    for (const std::int64_t main_length : {frame.main.length / 2, frame.main.length / 2 + 1}) {
      if (best.is_perfect()) return;
      if (main_length == frame.main.length) continue;
      Children cut;
      split_in_five(turned, even_half(turned.second.length), main_length, cut);
      best.offer(cut);
    }
  }
  if (best.is_perfect()) return;
  Children cut;
  split_u_turn(frame, even_half(frame.second.length), frame.main.length / 2, cut);
  best.offer(cut);
}

}  // namespace

void split_box(const Frame& frame, Children& children) {
  const std::int64_t a = frame.main.length, b = frame.second.length, c = frame.third.length;
  if (2 * a > 3 * b && 2 * a > 3 * c) {
    split_along_main(frame, even_half(a), children);
  } else if (3 * b > 4 * c) {
    split_u_turn(frame, even_half(b), a / 2, children);
  } else if (3 * c > 4 * b) {
    split_u_turn(with_cross_sides_swapped(frame), even_half(c), a / 2, children);
  } else {
    split_round_box(frame, children);
  }
}

void split_hilbert(const Frame& frame, Children& children) {
  if (frame.third.length == 1) {
    split_rectangle(frame, children);
  } else if (frame.second.length == 1) {
    split_rectangle(with_cross_sides_swapped(frame), children);
  } else {
    split_box(frame, children);
  }
}

}  // namespace hilbertring

#include "hilbert/rectangle.h"

namespace hilbertring {

std::int64_t even_half(std::int64_t length) {
  const std::int64_t half = length / 2;
  return half % 2 != 0 && length > 2 ? half + 1 : half;
}

void split_along_main(const Frame& frame, std::int64_t length, Children& children) {
  children.add({frame.start, head(frame.main, length), frame.second, frame.third});
  children.add({frame.start + length * frame.main.step, rest(frame.main, length), frame.second, frame.third});
}

void split_u_turn(const Frame& frame, std::int64_t second_length, std::int64_t main_length, Children& children) {
  const Axis rise = head(frame.second, second_length);
  children.add({frame.start, rise, frame.third, head(frame.main, main_length)});
  children.add({frame.start + second_length * rise.step, frame.main, rest(frame.second, second_length), frame.third});
  children.add({frame.start + extent(frame.main) + extent(rise), reversed(rise), frame.third, reversed(rest(frame.main, main_length))});
}

void split_rectangle(const Frame& frame, Children& children) {
  if (2 * frame.main.length > 3 * frame.second.length) {
    split_along_main(frame, even_half(frame.main.length), children);
  } else {
    split_u_turn(frame, even_half(frame.second.length), frame.main.length / 2, children);
  }
}

}  // namespace hilbertring

#pragma once

#include <cstdint>

#include "hilbert/frame.h"

namespace hilbertring {

/// Half of a length, rounded to zero, then up to an even number (lengths above 2): an even part can be crossed from corner to corner of its main
/// side.
std::int64_t even_half(std::int64_t length);

/// Two frames, one behind the other along main. `length` cells of main go to the first.
void split_along_main(const Frame& frame, std::int64_t length, Children& children);

/// Three frames: up `second` beside the start, along all of `main`, and down again to the end of `main`. The first and the last have `second_length`
/// cells of second; `main_length` cells of main go to the first.
void split_u_turn(const Frame& frame, std::int64_t second_length, std::int64_t main_length, Children& children);

/// The generalised Hilbert curve on a rectangle main x second (third.length == 1), as SPEC.md section 2 fixes it: a rectangle longer than 3/2 of its
/// width is halved along main, any other is walked as a U. Every step is to a neighbour, except one diagonal step where the longer side
/// is odd and the shorter even.
void split_rectangle(const Frame& frame, Children& children);

}  // namespace hilbertring

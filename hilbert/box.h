#pragma once

#include "hilbert/frame.h"

namespace hilbertring {

/// The generalised Hilbert curve on a box a x b x c of any sides (a = main, b = second, c = third), which the project fixes as follows.
///
/// The curve enters at the start corner, runs along a, the longest side of the whole grid, and leaves at the corner at the end of a. A box is cut by
/// its shape: if 2a > 3b and 2a > 3c, into two along a; if one of b and c is longer than 4/3 of the other, into a U over the longer (up it, along a,
/// down it: split_u_turn); else into five, which join the eight octants of the classical curve where two of them follow in one direction:
/// up b; along c; along a (two pairs of octants become one box each, and the third pair); back along c; down b. Halves are rounded to zero.
/// The b that is climbed is rounded up to an even number, so that its two boxes can be crossed from corner to corner. What remains
/// is chosen by parity: a path of unit steps from one end of the main side to the other exists only if main is even or all three sides are odd. Of
/// the cuts in five (climbing b or c, a halved down or up) and the U over b, in this order, the first is taken that has the fewest parts without such
/// a path. With one side of a single cell the curve is that of the rectangle.
///
/// Consequences, which tests/hilbert/box_test.cpp measures: on cubes of 2^k cells a side it is a classical Hilbert curve (each aligned octant is
/// visited in one go, with unit steps). If the longest side is even, or all three are odd, every step is to a neighbour. Otherwise parity forbids a
/// path of unit steps from corner to corner: at most one step is longer, of Manhattan length 2 (a diagonal, or over one cell), or the curve ends
/// beside its corner.
void split_box(const Frame& frame, Children& children);

/// split_box on boxes, split_rectangle where one side is a single cell: the rule of Curve::kHilbert.
void split_hilbert(const Frame& frame, Children& children);

}  // namespace hilbertring

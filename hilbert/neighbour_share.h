#pragma once

#include <optional>

#include "core/pattern.h"
#include "hilbert/order.h"

namespace hilbertring {

/// How much of what lies around a token the pattern lets it see.
struct NeighbourShare {
  double share = 0;         ///< 0 to 1
  bool is_sampled = false;  ///< more tokens than are looked at one by one: tokens at even distances stand for all
};

/// Of all (token, grid neighbour, query head): the share in which the pattern lets the token attend to the neighbour, in any branch. Neighbours are
/// the tokens one step away along a side of the specification's grid (up to 4 on rows x cols, 6 on planes x rows x cols; with curve_chunk on the
/// grid of their run). It says what an order is worth to a pattern of windows: segments hold more neighbours on a Hilbert curve than in sequence
/// order. Under causality a token sees at most one of two neighbours, so that the share is at most a half. nullopt: no token has a neighbour.
/// Exact up to 262,144 tokens; at most half a second. `specification`, which `pattern` was made from, has been validated.
std::optional<NeighbourShare> neighbour_share(const Specification& specification, const Pattern& pattern, const Orders& orders);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <limits>

namespace hilbertring {

/// A pair of a query in unit u and a key in unit v has lag (u - v) mod U: what a query's pairs, and a key's, are folded in the order of (SPEC.md
/// section 5). Lags [begin, end).
struct LagRange {
  std::int64_t begin = 0;
  std::int64_t end = std::numeric_limits<std::int64_t>::max();

  bool contains(std::int64_t lag) const { return begin <= lag && lag < end; }
};

/// Part of a pass: the pairs of some lags, and the steps of the ring in which some rank meets any of them. Whoever has folded the legs up to a lag is
/// in a state that does not depend on the number of ranks.
struct Leg {
  LagRange lags;
  std::int64_t first_step = 1, end_step = 1;

  bool has_step(std::int64_t step) const { return first_step <= step && step < end_step; }
};

}  // namespace hilbertring

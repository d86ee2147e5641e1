#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "hilbert/grid.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {

/// How the steps of a curve through all cells of a grid depart from unit steps.
struct StepCensus {
  std::int64_t num_long = 0;
  std::int64_t longest = 1;  ///< Manhattan distance
};

inline StepCensus step_census(const std::vector<std::int64_t>& sides, const std::vector<std::int64_t>& order) {
  const Grid grid(sides, static_cast<std::int64_t>(order.size()));
  StepCensus census;
  for (std::size_t p = 1; p < order.size(); ++p) {
    const std::int64_t distance = manhattan_distance(grid.cell(order[p - 1]), grid.cell(order[p]));
    census.num_long += distance > 1;
    census.longest = std::max(census.longest, distance);
  }
  return census;
}

/// Colour the cells like a chess board: a path of unit steps between the ends of the longest side, through all cells, needs that side even or all
/// cells odd.
inline bool parity_forbids_unit_steps(std::vector<std::int64_t> sides) {
  std::ranges::sort(sides);
  std::int64_t others = 1;
  for (std::size_t i = 0; i + 1 < sides.size(); ++i) others *= sides[i];
  return sides.back() % 2 != 0 && others % 2 == 0;
}

}  // namespace hilbertring::testing

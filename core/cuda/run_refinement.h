#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "core/pattern.h"

namespace hilbertring {

/// Positions that lie in the same ones of some runs.
struct RefinedRun {
  Run run;
  std::vector<std::size_t> members;  ///< indices of the runs that it lies in, ascending; not empty
};

/// Cuts the positions of runs, which may overlap, into disjoint runs whose positions all lie in the same ones of them: as few and as long ones as a
/// grid of their strides gives. Example: 0 1 ... 15 and 0 4 8 12 give 0 4 8 12 (in both), and 1 5 9 13, 2 6 10 14, 3 7 11 15 (in the first).
/// nullopt where that would take too many: strides without a small common multiple, or very many runs.
std::optional<std::vector<RefinedRun>> refine_runs(std::span<const Run> runs);

}  // namespace hilbertring

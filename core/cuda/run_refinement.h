#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/pattern.h"

namespace hilbertring {

/// Positions that lie in the same ones of some runs.
struct RefinedRun {
  Run run;
  std::uint64_t members = 0;  ///< bit i: they lie in run i; not 0

  bool lies_in(std::size_t i) const { return (members >> i & 1) != 0; }
};

/// Cuts the positions of runs, which may overlap, into disjoint runs whose positions all lie in the same ones of them: as few and as long ones as a
/// grid of their strides gives. Example: 0 1 ... 15 and 0 4 8 12 give 0 4 8 12 (in both), and 1 5 9 13, 2 6 10 14, 3 7 11 15 (in the first).
/// nullopt where that would take too many: strides without a common multiple up to 64, or more than 64 runs.
std::optional<std::vector<RefinedRun>> refine_runs(std::span<const Run> runs);

}  // namespace hilbertring

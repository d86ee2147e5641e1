#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ring/schedule.h"

namespace hilbertring {

/// Allowed pairs that each rank folds (its queries with all their keys; all heads and batch elements), by counting, without running. nullopt where
/// counting would take too long: sequence causality on a curve over very many tokens.
std::optional<std::vector<double>> work_per_rank(const Schedule& schedule);

}  // namespace hilbertring

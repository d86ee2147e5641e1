#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "ring/transport.h"

namespace hilbertring {

/// Folds another rank's values into `values`, element by element. Called in the order of ranks, it gives sums of doubles the same bits on every
/// transport.
template <class T>
void fold_reduction(std::span<T> values, std::span<const T> others, Reduction reduction) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (reduction) {
      case Reduction::kSum: values[i] += others[i]; break;
      case Reduction::kMin: values[i] = std::min(values[i], others[i]); break;
      case Reduction::kMax: values[i] = std::max(values[i], others[i]); break;
    }
  }
}

}  // namespace hilbertring

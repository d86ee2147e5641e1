#include "drivers/row_bounds.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace hilbertring {

namespace {

/// Half the distance between the smallest numbers of a type: what storing may lose of a number too small to be stored in full.
double smallest_rounding(ElementType type) {
  switch (type) {
    case ElementType::kFloat16: return 0x1p-25;
    case ElementType::kBfloat16: return 0x1p-134;
    case ElementType::kFloat32: return 0x1p-150;
    case ElementType::kFloat64: break;
  }
  return std::numeric_limits<double>::denorm_min();
}

}  // namespace

std::vector<double> row_bounds(std::span<const double> expected, std::span<const double> sum_abs, double rounding, double storage_roundoff,
                               ElementType stored_as) {
  std::vector<double> bounds(expected.size());
  for (std::size_t d = 0; d < bounds.size(); ++d) {
    bounds[d] = storage_roundoff * std::abs(expected[d]) + rounding * sum_abs[d];
    // What a row without keys leaves is exactly 0; only sums of terms may be too small to store.
    if (sum_abs[d] > 0) bounds[d] += smallest_rounding(stored_as);
  }
  return bounds;
}

double query_rounding(double roundoff, const ReferenceQueryRow& reference) { return kRoundings * roundoff * (1 + reference.max_abs_score); }

double weights_roundoff(ElementType weights_type, ElementType input_type) {
  return size_bytes(weights_type) < size_bytes(arithmetic_type(input_type)) ? unit_roundoff(weights_type) : 0.0;
}

double lse_bound(double roundoff, ElementType stored_as, const ReferenceQueryRow& reference) {
  if (!std::isfinite(reference.lse)) return 0.0;
  return kRoundings * std::max(roundoff, unit_roundoff(stored_as)) * (1 + reference.max_abs_score + std::abs(reference.lse));
}

double key_rounding(double roundoff, ElementType lse_type, const ReferenceKeyRow& reference, double largest_lse) {
  return kRoundings * roundoff * (1 + reference.max_abs_score + largest_lse) + unit_roundoff(lse_type) * largest_lse;
}

}  // namespace hilbertring

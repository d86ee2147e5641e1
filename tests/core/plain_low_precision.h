#pragma once

#include <vector>

#include "attention_case.h"

namespace hilbertring {

/// What products of matrices of a 16-bit type give, written as plain loops: sums in float, but probabilities and their gradients, the factors of the
/// second product, are rounded to the type. Dense patterns only.
struct LowPrecisionResult {
  std::vector<float> o, dq, dk, dv;
};
LowPrecisionResult evaluate_in_low_precision(const AttentionCase& c);

}  // namespace hilbertring

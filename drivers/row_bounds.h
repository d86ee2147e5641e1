#pragma once

#include <span>
#include <vector>

#include "core/element_type.h"
#include "core/reference.h"

namespace hilbertring {

/// How many roundings of the arithmetic, at the size of the terms, a result may be off: see `row_bounds`. The largest seen in correct float32 and
/// float64 results is 5 (large scores: the lse of the demo's picture); 2.4 otherwise.
inline constexpr double kRoundings = 16;

/// What errors are measured against. The bound of an element is
///   u(T_out) |expected| + c u (1 + S) A  (+ the rounding of numbers too small for T_out),
/// where T_out is the type it is stored as, c = kRoundings, u the arithmetic's roundoff (2^-24; float64 input: 2^-53), S the largest
/// |scale| sum |q_d k_d| of the row's scores, and A the sum of the absolute values of the element's terms. `rounding` is c u (1 + S).
std::vector<double> row_bounds(std::span<const double> expected, std::span<const double> sum_abs, double rounding, double storage_roundoff,
                               ElementType stored_as);

/// c u (1 + S) of a row of queries: o and dq.
double query_rounding(double roundoff, const ReferenceQueryRow& reference);
/// u(W), which softmax weights rounded to W (a GPU's tensor cores) add to the rounding of o and dv, and twice to that of dq and dk, whose delta is
/// made of such an o; 0 if W is what the arithmetic works in anyway.
double weights_roundoff(ElementType weights_type, ElementType input_type);
/// For lse: c u (1 + S + |lse|). A row without allowed keys has the lse -infinity, and the bound 0.
double lse_bound(double roundoff, ElementType stored_as, const ReferenceQueryRow& reference);
/// Likewise of a row of keys: dk and dv. `largest_lse` is L, the largest |lse|, where the reference was given lse as stored (`lse_type`), whose
/// rounding is added; 0 where it was given the exact one.
double key_rounding(double roundoff, ElementType lse_type, const ReferenceKeyRow& reference, double largest_lse);

}  // namespace hilbertring

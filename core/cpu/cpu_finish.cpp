#include "core/cpu/cpu_finish.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numbers>

#include "core/cpu/cpu_threads.h"

namespace hilbertring {

namespace {

/// Rows that one task takes: enough to make its start cheap.
constexpr std::int64_t kRowsPerTask = 512;

/// Calls f(row) for all rows of a tensor, its batch elements and heads flattened, on several threads.
template <class F>
void for_each_row(const ConstTensor& tensor, int num_threads, F&& f) {
  const std::int64_t num_rows = tensor.batch * tensor.heads * tensor.rows;
  for_each_task(num_threads, ceil_div(num_rows, kRowsPerTask), [&](std::int64_t task, int) {
    const std::int64_t end = std::min(num_rows, (task + 1) * kRowsPerTask);
    for (std::int64_t row = task * kRowsPerTask; row < end; ++row) f(row);
  });
}

template <class Real, class Stored>
Real dot_row(const Stored* a, const Real* b, std::int64_t num_columns) {
  // Products of two floats are exact in double. Plain operations in a fixed order: fp-contract is off, so nothing is fused anywhere.
  double sum = 0;
  for (std::int64_t c = 0; c < num_columns; ++c) {
    if constexpr (std::is_same_v<Stored, double>) {
      sum += a[c] * b[c];
    } else {
      sum += static_cast<double>(to_float(a[c])) * static_cast<double>(b[c]);
    }
  }
  return static_cast<Real>(sum);
}

}  // namespace

double log2_of(double x) {
  if (!(x <= std::numeric_limits<double>::max())) return x;
  constexpr int kMantissaBits = 52;
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)), so that powers of two give exactly e and the series stays short.
  const auto bits = std::bit_cast<std::int64_t>(x);
  const std::int64_t shifted = bits - std::bit_cast<std::int64_t>(std::numbers::sqrt2 / 2);
  const std::int64_t exponent = shifted >> kMantissaBits;
  const double mantissa = std::bit_cast<double>(bits - (exponent << kMantissaBits));
  // ln m = 2 artanh t = 2 (t + t^3/3 + t^5/5 + ...) with t = (m - 1) / (m + 1), |t| < 0.172: the term after t^21 is below 2^-57 of the first.
  const double t = (mantissa - 1) / (mantissa + 1);
  const double square = t * t;
  double series = 0;
  for (int k = 21; k >= 3; k -= 2) series = (series + 1.0 / k) * square;
  return static_cast<double>(exponent) + (t + t * series) * (2 * std::numbers::log2e);
}

template <class Real>
void finish_rows(const ForwardOperands& operands, int num_threads) {
  const std::int64_t num_columns = operands.o.columns;
  auto* const maxima = reinterpret_cast<Real*>(operands.row_max.data);
  auto* const sums = reinterpret_cast<const Real*>(operands.row_sum.data);
  auto* const outputs = reinterpret_cast<Real*>(operands.o.data);
  for_each_row(operands.o, num_threads, [&](std::int64_t row) {
    Real* o = outputs + row * num_columns;
    if (maxima[row] == -std::numeric_limits<Real>::infinity()) {
      std::fill(o, o + num_columns, Real{0});
      return;
    }
    for (std::int64_t c = 0; c < num_columns; ++c) o[c] /= sums[row];
    maxima[row] = static_cast<Real>(static_cast<double>(maxima[row]) + log2_of(static_cast<double>(sums[row])));
  });
}

template <class Real>
void dot_rows_of(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o, int num_threads) {
  auto* const deltas = reinterpret_cast<Real*>(delta.data);
  auto* const outputs = reinterpret_cast<const Real*>(o.data);
  visit_element_type(d_o.type, [&]<class Stored>(Stored) {
    if constexpr (std::is_same_v<Stored, double> == std::is_same_v<Real, double>) {
      auto* const gradients = reinterpret_cast<const Stored*>(d_o.data);
      for_each_row(o, num_threads,
                   [&](std::int64_t row) { deltas[row] = dot_row<Real>(gradients + row * o.columns, outputs + row * o.columns, o.columns); });
    }
  });
}

template void finish_rows<float>(const ForwardOperands&, int);
template void finish_rows<double>(const ForwardOperands&, int);
template void dot_rows_of<float>(const Tensor&, const ConstTensor&, const ConstTensor&, int);
template void dot_rows_of<double>(const Tensor&, const ConstTensor&, const ConstTensor&, int);

}  // namespace hilbertring

#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace hilbertring {

/// Exponential and natural logarithm with the same bits on every machine: integer arithmetic and exactly rounded float64 operations only. libm's
/// differ in the last bit between machines, and between processors of one machine's kind. Errors are below one unit in the last place; special
/// values are those of std::exp and std::log.
double portable_exp(double x);
double portable_log(double x);

/// sum of coefficients[i] * x^i, in one fixed order.
template <std::size_t kCount>
constexpr double polynomial(const std::array<double, kCount>& coefficients, double x) {
  double sum = coefficients[kCount - 1];
  for (std::size_t i = kCount - 1; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

/// x = mantissa * 2^exponent.
struct MantissaAndExponent {
  double mantissa;  ///< in [sqrt(1/2), sqrt(2)): as near to 1 as it can be
  std::int64_t exponent;
};

/// `x` must be positive and normal.
constexpr MantissaAndExponent split_around_one(double x) {
  constexpr std::uint64_t kHalfRootOfTwo = 0x3FE6A09E667F3BCD;  // bits of sqrt(1/2)
  constexpr std::uint64_t kMantissa = 0x000FFFFFFFFFFFFF;
  // Bits that count from sqrt(1/2) have the exponent of m 2^e: a carry out of the mantissa says that m starts the next octave.
  const std::uint64_t from_root = std::bit_cast<std::uint64_t>(x) - kHalfRootOfTwo;
  return {std::bit_cast<double>((from_root & kMantissa) + kHalfRootOfTwo), static_cast<std::int64_t>(from_root) >> 52};
}

}  // namespace hilbertring

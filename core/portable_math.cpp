#include "core/portable_math.h"

#include <cmath>
#include <limits>

namespace hilbertring {

namespace {

/// log 2 in two parts: the first has so few bits that its product with an exponent is exact.
constexpr double kLog2High = 0x1.62e42feep-1;
constexpr double kLog2Low = 0x1.a39ef35793c76p-33;

/// `exponent` in [-1022, 1023].
double power_of_two(std::int64_t exponent) { return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + 1023) << 52); }

/// 1 / 2!, 1 / 3!, ... 1 / 13!: the rest of the series is below 2^-57 of the sum for |x| <= log(2) / 2.
constexpr std::array<double, 12> kInverseFactorials = {1.0 / 2,     1.0 / 6,      1.0 / 24,      1.0 / 120,      1.0 / 720,       1.0 / 5040,
                                                       1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};

/// 2 artanh(s) / s - 2 = sum of 2 / (2 i + 1) s^(2 i), i >= 1; here over s^2. The rest is below 2^-58 for |s| <= 0.172.
constexpr std::array<double, 10> kArtanhSeries = {2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};

}  // namespace

// exp x = 2^k exp r with k = x / log 2 to the nearest integer, hence |r| <= log(2) / 2.
double portable_exp(double x) {
  constexpr double kInverseLog2 = 0x1.71547652b82fep0;
  constexpr double kLargest = 709.79, kSmallest = -745.14;
  if (!(x >= kSmallest)) return std::isnan(x) ? x : 0.0;
  if (x > kLargest) return std::numeric_limits<double>::infinity();
  const double k = std::floor(x * kInverseLog2 + 0.5);
  const double r = (x - k * kLog2High) - k * kLog2Low;
  const double mantissa = 1.0 + (r + r * r * polynomial(kInverseFactorials, r));
  // In two steps, since 2^k itself may be too small or too large; only the second can round.
  const auto exponent = static_cast<std::int64_t>(k);
  return mantissa * power_of_two(exponent / 2) * power_of_two(exponent - exponent / 2);
}

// log(m 2^e) = e log 2 + log(1 + f) with m = 1 + f, which is exact, and log(1 + f) = 2 artanh(s) with s = f / (2 + f). Its first term is 2 s = f - s
// f: written so, the rounding of s weighs little.
double portable_log(double x) {
  if (!(x > 0)) return x == 0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  if (std::isinf(x)) return x;
  const bool is_subnormal = x < std::numeric_limits<double>::min();
  const auto [m, e] = split_around_one(is_subnormal ? x * 0x1p54 : x);
  const auto exponent = static_cast<double>(is_subnormal ? e - 54 : e);
  const double f = m - 1;
  const double s = f / (2 + f);
  const double rest = s * s * polynomial(kArtanhSeries, s * s);
  return exponent * kLog2High - ((s * (f - rest) - exponent * kLog2Low) - f);
}

}  // namespace hilbertring

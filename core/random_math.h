#pragma once

#include <array>
#include <cstdint>

#include "core/portable_math.h"

// The arithmetic behind core/random.h, for every device: integers, and float64 operations that are exactly rounded each (a compiler that fuses two of
// them must be told not to).
namespace hilbertring::random_math {

using Counter = std::array<std::uint32_t, 4>;
using Key = std::array<std::uint32_t, 2>;

constexpr std::uint32_t low_word(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high_word(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }
constexpr std::uint64_t joined(std::uint32_t low, std::uint32_t high) { return std::uint64_t{high} << 32 | low; }

constexpr Counter philox_round(Counter c, Key key) {
  const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0];
  const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c[2];
  return {high_word(b) ^ c[1] ^ key[0], low_word(b), high_word(a) ^ c[3] ^ key[1], low_word(a)};
}

constexpr Counter philox_block(Counter counter, Key key) {
  for (int round = 0; round < 10; ++round) {
    counter = philox_round(counter, key);
    key = {key[0] + 0x9E3779B9, key[1] + 0xBB67AE85};
  }
  return counter;
}

/// Natural logarithm of a normal positive number, error below 1e-12. Shorter than `portable_log`, and fixed for ever: a seed's bits depend on it.
constexpr double short_log(double x) {
  constexpr double kLog2 = 0.693147180559945309417;
  constexpr std::array<double, 7> kSeries = {2.0, 2.0 / 3, 2.0 / 5, 2.0 / 7, 2.0 / 9, 2.0 / 11, 2.0 / 13};
  const auto [m, exponent] = split_around_one(x);
  const double s = (m - 1) / (m + 1);
  return static_cast<double>(exponent) * kLog2 + s * polynomial(kSeries, s * s);
}

/// Normal quantile of the upper tail probability p in [2^-54, 1/2]: t - P(t) / Q(t) with t = sqrt(-2 log p). P and Q were fitted for this project:
/// least squares at 4000 Chebyshev points of t, reweighted until the error is level (largest: 2.1e-11). `root` is the device's square root, exactly
/// rounded.
template <class Root>
constexpr double upper_quantile(double p, Root&& root) {
  constexpr std::array<double, 6> kNumerator = {3.8428624179462885, 44.45102940455784, 70.20906542756774,
                                                17.999740120279174, 0.892990748148033, 0.005457398786862188};
  constexpr std::array<double, 7> kDenominator = {
      1.0, 18.278113615065283, 50.4065850985885, 33.186881448498625, 5.121400163883664, 0.17169754668109072, 0.0006691412325509352};
  const double t = root(-2.0 * short_log(p));
  return t - polynomial(kNumerator, t) / polynomial(kDenominator, t);
}

/// Last counter word of the blocks of normal numbers.
inline constexpr std::uint32_t kNormalDomain = 1;

/// One block serves two neighbours: elements 2 * block and 2 * block + 1.
constexpr Counter normal_block(std::uint64_t seed, std::uint32_t tensor, std::uint64_t block) {
  return philox_block({low_word(block), high_word(block), tensor, kNormalDomain}, {low_word(seed), high_word(seed)});
}

/// The even (or odd) one of the block's two numbers.
template <class Root>
constexpr double normal_of(const Counter& words, bool is_odd, Root&& root) {
  const std::uint64_t bits = is_odd ? joined(words[2], words[3]) : joined(words[0], words[1]);
  // Top bit: the sign. 52 more: which of 2^52 equal intervals of (0, 1/2) the tail probability lies in the middle of; exact in float64.
  const double tail = (static_cast<double>((bits << 1) >> 12) + 0.5) * 0x1p-53;
  const double magnitude = upper_quantile(tail, root);
  return bits >> 63 ? -magnitude : magnitude;
}

}  // namespace hilbertring::random_math

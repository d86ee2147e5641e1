#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <vector>

namespace hilbertring {
namespace {

std::vector<double> sample(std::uint64_t seed, TensorId tensor, std::int64_t count) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(normal_at(seed, tensor, i));
  return values;
}

double upper_tail(double x) { return 0.5 * std::erfc(x / std::sqrt(2.0)); }

// The vectors that come with the paper's library, Random123 (kat_vectors).
TEST(RandomTest, PhiloxGivesThePublishedBits) {
  using Words = std::array<std::uint32_t, 4>;

  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomTest, RandomBitsAreTheFirstWordsOfTheirBlock) {
  const auto words = philox({0x55667788, 0x11223344, 0xddeeff00, 0x99aabbcc}, {0x89abcdef, 0x01234567});

  const std::uint64_t bits = random_bits(0x0123456789abcdef, 0x99aabbccddeeff00, 0x1122334455667788);

  EXPECT_EQ(bits, std::uint64_t{words[1]} << 32 | words[0]);
}

// The values themselves were compared with the exact quantiles of the same bits (worst difference 2e-11).
TEST(RandomTest, NormalNumbersHaveTheSameBitsEverywhere) {
  struct Golden {
    std::uint64_t seed;
    TensorId tensor;
    std::int64_t index;
    std::uint64_t bits;
  };
  const std::vector<Golden> golden = {
      {0, TensorId::kQ, 0, 0x3ff6fec359061658},   {0, TensorId::kQ, 1, 0xbff1a85bfa362467},
      {1, TensorId::kK, 2, 0x3fda8ee1d8f2886c},   {42, TensorId::kV, 12345678901, 0xbffbe309d023b974},
      {42, TensorId::kDo, 7, 0x3fe14f2803d4eee6}, {~std::uint64_t{0}, TensorId::kQ, 1000000, 0xbfd23e1657924070},
      {7, TensorId::kV, 3, 0x3fe1baafbf931250},   {2026, TensorId::kK, (std::int64_t{1} << 40) + 1, 0x3fcaa5fb1a511080},
  };

  for (const Golden& g : golden) EXPECT_EQ(std::bit_cast<std::uint64_t>(normal_at(g.seed, g.tensor, g.index)), g.bits) << g.seed << " " << g.index;
}

TEST(RandomTest, NormalNumbersAreTheQuantilesOfTheirBits) {
  double worst = 0;

  for (std::uint32_t i = 0; i < 20000; ++i) {
    const auto words = philox({i, 0, 0, 1}, {5, 0});
    const std::uint64_t bits = std::uint64_t{words[1]} << 32 | words[0];
    const double tail = (static_cast<double>((bits << 1) >> 12) + 0.5) * 0x1p-53;
    const double x = std::abs(normal_at(5, TensorId::kQ, 2 * std::int64_t{i}));
    // A difference in the tail probability, divided by the density, is the difference in x.
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
    worst = std::max(worst, std::abs(upper_tail(x) - tail) / density);
  }

  EXPECT_LE(worst, 1e-10);
}

TEST(RandomTest, MomentsAreThoseOfAStandardNormal) {
  constexpr std::int64_t kCount = 1'000'000;
  double sums[4] = {};

  for (const double x : sample(3, TensorId::kV, kCount)) {
    for (int power = 1; power <= 4; ++power) sums[power - 1] += std::pow(x, power) / kCount;
  }

  // Five standard errors each: sqrt(1, 2, 15, 96) / 1000.
  EXPECT_LE(std::abs(sums[0]), 5e-3);
  EXPECT_LE(std::abs(sums[1] - 1), 7.1e-3);
  EXPECT_LE(std::abs(sums[2]), 19.4e-3);
  EXPECT_LE(std::abs(sums[3] - 3), 49e-3);
}

TEST(RandomTest, BothTailsHaveTheRightWeight) {
  constexpr std::int64_t kCount = 1'000'000;
  const std::vector<double> values = sample(4, TensorId::kDo, kCount);

  for (const double bound : {1.0, 2.0, 3.0, 4.0}) {
    const double expected = kCount * upper_tail(bound);
    const auto above = static_cast<double>(std::count_if(values.begin(), values.end(), [=](double x) { return x > bound; }));
    const auto below = static_cast<double>(std::count_if(values.begin(), values.end(), [=](double x) { return x < -bound; }));
    EXPECT_LE(std::abs(above - expected), 5 * std::sqrt(expected)) << bound;
    EXPECT_LE(std::abs(below - expected), 5 * std::sqrt(expected)) << bound;
  }
}

TEST(RandomTest, NeighboursAndTensorsAreUncorrelated) {
  constexpr std::int64_t kCount = 200'000;
  const std::vector<double> q = sample(5, TensorId::kQ, kCount + 1);
  const std::vector<double> k = sample(5, TensorId::kK, kCount + 1);
  double neighbours = 0, tensors = 0;

  for (std::size_t i = 0; i < kCount; ++i) {
    neighbours += q[i] * q[i + 1] / kCount;
    tensors += q[i] * k[i] / kCount;
  }

  EXPECT_LE(std::abs(neighbours), 5 / std::sqrt(static_cast<double>(kCount)));
  EXPECT_LE(std::abs(tensors), 5 / std::sqrt(static_cast<double>(kCount)));
}

TEST(RandomTest, SeedsTensorsAndIndicesGiveDifferentNumbers) {
  std::set<double> values;

  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    for (const TensorId tensor : {TensorId::kQ, TensorId::kK, TensorId::kV, TensorId::kDo}) {
      for (std::int64_t i = 0; i < 100; ++i) values.insert(normal_at(seed, tensor, i));
    }
  }

  EXPECT_EQ(values.size(), 4000u);
}

}  // namespace
}  // namespace hilbertring

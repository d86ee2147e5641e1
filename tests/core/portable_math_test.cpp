#include "core/portable_math.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/random.h"

namespace hilbertring {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A number drawn evenly from [low, high).
double drawn(std::uint64_t counter, double low, double high) {
  return low + (high - low) * (static_cast<double>(random_bits(5, 0, counter) >> 11) * 0x1p-53);
}

/// Distance from the exact value in units of its last place.
double error_in_ulps(double value, long double exact) {
  const auto rounded = static_cast<double>(exact);
  const double unit = std::nextafter(std::abs(rounded), kInfinity) - std::abs(rounded);
  return static_cast<double>(std::abs(static_cast<long double>(value) - exact)) / unit;
}

TEST(PortableMath, ExpIsWithinOneUnitOfTheLastPlace) {
  for (const double reach : {1e-8, 0.3, 3.0, 40.0, 700.0}) {
    for (std::uint64_t i = 0; i < 20000; ++i) {
      const double x = drawn(i, -reach, reach);

      ASSERT_LT(error_in_ulps(portable_exp(x), std::exp(static_cast<long double>(x))), 1) << x;
    }
  }
}

TEST(PortableMath, LogIsWithinOneUnitOfTheLastPlace) {
  for (const double reach : {1.0 + 1e-6, 1.3, 2.0, 1e3, 1e300}) {
    for (std::uint64_t i = 0; i < 20000; ++i) {
      const double x = drawn(i, 1 / reach, reach);

      ASSERT_LT(error_in_ulps(portable_log(x), std::log(static_cast<long double>(x))), 1) << x;
    }
  }
}

TEST(PortableMath, EndsOfTheRangeAreThoseOfTheStandardLibrary) {
  for (const double x : {0.0, -0.0, kInfinity, -kInfinity, 709.782712893384, 709.8, -745.13321910194, -745.2, 1e300, -1e300}) {
    EXPECT_DOUBLE_EQ(portable_exp(x), std::exp(x)) << x;
  }
  for (const double x : {0.0, -0.0, 1.0, kInfinity, std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::min(),
                         std::numeric_limits<double>::max()}) {
    EXPECT_DOUBLE_EQ(portable_log(x), std::log(x)) << x;
  }
  EXPECT_TRUE(std::isnan(portable_exp(kNan)));
  EXPECT_TRUE(std::isnan(portable_log(kNan)));
  EXPECT_TRUE(std::isnan(portable_log(-1)));
  EXPECT_EQ(portable_exp(0), 1);
  EXPECT_EQ(portable_log(1), 0);
}

/// Of many values at once; written down when the functions were.
TEST(PortableMath, SameBitsOnEveryMachine) {
  std::uint64_t exp_bits = 0, log_bits = 0;
  for (std::uint64_t i = 0; i < 100000; ++i) {
    exp_bits = std::rotl(exp_bits, 1) ^ std::bit_cast<std::uint64_t>(portable_exp(drawn(i, -60, 5)));
    log_bits = std::rotl(log_bits, 1) ^ std::bit_cast<std::uint64_t>(portable_log(drawn(i, 0, 1000)));
  }

  EXPECT_EQ(exp_bits, 11958785261881214389U);
  EXPECT_EQ(log_bits, 9803634711790451998U);
}

}  // namespace
}  // namespace hilbertring

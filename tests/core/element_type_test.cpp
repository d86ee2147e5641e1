#include "core/element_type.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"

namespace hilbertring {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Float16 float16_of(int bits) { return {static_cast<std::uint16_t>(bits)}; }
Bfloat16 bfloat16_of(int bits) { return {static_cast<std::uint16_t>(bits)}; }

/// Value of a 16-bit pattern by the definition of its fields: the tests' own decoder.
double decode(int bits, int exponent_bits, int mantissa_bits) {
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? kNan : sign * kInfinity;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

bool same_number(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b); }

TEST(ElementType, EveryFloat16PatternHasTheValueOfItsFields) {
  for (int bits = 0; bits < 65536; ++bits) ASSERT_TRUE(same_number(to_float(float16_of(bits)), decode(bits, 5, 10))) << bits;
}

TEST(ElementType, EveryBfloat16PatternHasTheValueOfItsFields) {
  for (int bits = 0; bits < 65536; ++bits) ASSERT_TRUE(same_number(to_float(bfloat16_of(bits)), decode(bits, 8, 7))) << bits;
}

TEST(ElementType, EveryPatternSurvivesTheRoundTrip) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float half = to_float(float16_of(bits));
    const float brain = to_float(bfloat16_of(bits));
    if (std::isnan(half)) {
      ASSERT_TRUE(std::isnan(to_float(to_float16(half)))) << bits;
    } else {
      ASSERT_EQ(to_float16(half).bits, bits);
      ASSERT_EQ(to_float16(static_cast<double>(half)).bits, bits);
    }
    if (std::isnan(brain)) {
      ASSERT_TRUE(std::isnan(to_float(to_bfloat16(brain)))) << bits;
    } else {
      ASSERT_EQ(to_bfloat16(brain).bits, bits);
      ASSERT_EQ(to_bfloat16(static_cast<double>(brain)).bits, bits);
    }
  }
}

/// Between two neighbours of a format: below the middle down, above it up, in the middle to the even one; for every finite pair.
template <class Real, class Round>
void expect_nearest_even(int exponent_bits, int mantissa_bits, Round round) {
  const int infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
  for (int low = 0; low < infinity - 1; ++low) {
    const auto a = static_cast<Real>(decode(low, exponent_bits, mantissa_bits));
    const auto b = static_cast<Real>(decode(low + 1, exponent_bits, mantissa_bits));
    const Real middle = a + (b - a) / 2;
    ASSERT_EQ(round(std::nextafter(middle, a)), low) << low;
    ASSERT_EQ(round(middle), low + (low & 1)) << low;
    ASSERT_EQ(round(std::nextafter(middle, b)), low + 1) << low;
    ASSERT_EQ(round(-middle), 0x8000 + low + (low & 1)) << low;
  }
}

TEST(ElementType, RoundsToNearestEvenBetweenAllNeighbours) {
  expect_nearest_even<double>(5, 10, [](double x) { return to_float16(x).bits; });
  expect_nearest_even<double>(8, 7, [](double x) { return to_bfloat16(x).bits; });
  expect_nearest_even<float>(5, 10, [](float x) { return to_float16(x).bits; });
  expect_nearest_even<float>(8, 7, [](float x) { return to_bfloat16(x).bits; });
}

TEST(ElementType, RoundsOnceFromDouble) {
  // Just above a tie: rounding to float first would land on the tie, and then go down to even.
  const double above_half_tie = 1.0 + 0x1p-11 + 0x1p-40;
  const double above_brain_tie = 1.0 + 0x1p-8 + 0x1p-40;

  EXPECT_EQ(to_float16(above_half_tie).bits, 0x3c01);
  EXPECT_EQ(to_float16(static_cast<float>(above_half_tie)).bits, 0x3c00);
  EXPECT_EQ(to_bfloat16(above_brain_tie).bits, 0x3f81);
  EXPECT_EQ(to_bfloat16(static_cast<float>(above_brain_tie)).bits, 0x3f80);
}

TEST(ElementType, OverflowsToInfinityFromHalfAStepAboveTheLargest) {
  EXPECT_EQ(to_float16(65519.999).bits, 0x7bff);
  EXPECT_EQ(to_float16(65520.0).bits, 0x7c00);
  EXPECT_EQ(to_float16(-1e300).bits, 0xfc00);
  EXPECT_EQ(to_bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
  EXPECT_EQ(to_bfloat16(-kInfinity).bits, 0xff80);
}

TEST(ElementType, UnderflowsToSignedZero) {
  EXPECT_EQ(to_float16(0x1p-25).bits, 0);
  EXPECT_EQ(to_float16(std::nextafter(0x1p-25, 1.0)).bits, 1);
  EXPECT_EQ(to_float16(-1e-300).bits, 0x8000);
  EXPECT_EQ(to_bfloat16(0x1p-134).bits, 0);
  EXPECT_EQ(to_bfloat16(std::numeric_limits<double>::denorm_min()).bits, 0);
}

TEST(ElementType, NanStaysNanWithItsSign) {
  const double signalling = std::bit_cast<double>(0xfff0000000000001ULL);

  EXPECT_EQ(to_float16(signalling).bits, 0xfe00);
  EXPECT_EQ(to_bfloat16(signalling).bits, 0xffc0);
  EXPECT_TRUE(std::isnan(to_float(to_float16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(ElementType, LoadsWhatWasStored) {
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64}) {
    std::array<std::byte, 32> data{};
    for (std::int64_t i = 0; i < 4; ++i) store_element(data.data(), type, i, 1.5 - static_cast<double>(i));
    for (std::int64_t i = 0; i < 4; ++i) EXPECT_EQ(load_element(data.data(), type, i), 1.5 - static_cast<double>(i));
  }
}

TEST(ElementType, RoundingErrorReachesButNeverExceedsTheUnitRoundoff) {
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32}) {
    const double u = unit_roundoff(type);
    std::array<std::byte, 8> data{};

    store_element(data.data(), type, 0, 1.0 + u);
    EXPECT_EQ(load_element(data.data(), type, 0), 1.0) << to_string(type);
    store_element(data.data(), type, 0, 1.0 + u * 1.001);
    EXPECT_EQ(load_element(data.data(), type, 0), 1.0 + 2 * u) << to_string(type);
  }
}

TEST(ElementType, ParsesItsOwnNames) {
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64}) {
    EXPECT_EQ(parse_element_type(to_string(type)), type);
  }
}

TEST(ElementType, NamesTheNearestTypeWhenRefusing) {
  try {
    parse_element_type("bfloat61");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(std::string(error.what()).find("'bfloat61'; did you mean 'bfloat16'"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace hilbertring

#include "hilbert/rectangle.h"

#include <gtest/gtest.h>

#include "tests/hilbert/orders.h"
#include "tests/hilbert/steps.h"

namespace hilbertring::testing {
namespace {

constexpr std::int64_t kLargestSide = 20;

TEST(HilbertRectangle, VisitsEveryCellOnce) {
  for (std::int64_t rows = 1; rows <= kLargestSide; ++rows) {
    for (std::int64_t cols = 1; cols <= kLargestSide; ++cols) {
      const std::vector<std::int64_t> order = filled(*curve_order(Curve::kHilbert, rows * cols, {rows, cols}));

      EXPECT_TRUE(is_permutation(order)) << rows << " x " << cols;
      EXPECT_EQ(order[0], 0) << rows << " x " << cols;
    }
  }
}

TEST(HilbertRectangle, StepsAreUnitExceptWhereParityForbids) {
  for (std::int64_t rows = 1; rows <= kLargestSide; ++rows) {
    for (std::int64_t cols = 1; cols <= kLargestSide; ++cols) {
      const StepCensus census = step_census({rows, cols}, filled(*curve_order(Curve::kHilbert, rows * cols, {rows, cols})));

      EXPECT_LE(census.num_long, parity_forbids_unit_steps({rows, cols}) ? 1 : 0) << rows << " x " << cols;
      EXPECT_LE(census.longest, 2) << rows << " x " << cols;
    }
  }
}

TEST(HilbertRectangle, EqualsOracleCurve) {
  // Printed by curve_order of the specification's oracle.
  const std::vector<std::int64_t> eight_by_eight{0,  8,  9,  1,  2,  3,  11, 10, 18, 19, 27, 26, 25, 17, 16, 24, 32, 33, 41, 40, 48, 56,
                                                 57, 49, 50, 58, 59, 51, 43, 42, 34, 35, 36, 37, 45, 44, 52, 60, 61, 53, 54, 62, 63, 55,
                                                 47, 46, 38, 39, 31, 23, 22, 30, 29, 28, 20, 21, 13, 12, 4,  5,  6,  14, 15, 7};
  const std::vector<std::int64_t> five_by_seven{0,  1,  2,  9,  8,  7,  14, 15, 22, 21, 28, 29, 30, 31, 24, 23, 16, 17,
                                                18, 25, 32, 33, 34, 27, 26, 19, 20, 13, 12, 11, 10, 3,  4,  5,  6};
  const std::vector<std::int64_t> sixteen_by_six{0,  1,  7,  6,  12, 18, 19, 13, 14, 20, 21, 15, 9,  8,  2,  3,  4,  5,  11, 10, 16, 17, 23, 22,
                                                 28, 29, 35, 34, 40, 41, 47, 46, 45, 44, 38, 39, 33, 27, 26, 32, 31, 25, 24, 30, 36, 37, 43, 42,
                                                 48, 49, 55, 54, 60, 66, 67, 61, 62, 68, 69, 63, 57, 56, 50, 51, 52, 53, 59, 58, 64, 65, 71, 70,
                                                 76, 77, 83, 82, 88, 89, 95, 94, 93, 92, 86, 87, 81, 75, 74, 80, 79, 73, 72, 78, 84, 85, 91, 90};

  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 64, {8, 8})), eight_by_eight);
  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 35, {5, 7})), five_by_seven);
  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 96, {16, 6})), sixteen_by_six);
}

TEST(HilbertRectangle, EqualsFingerprintsOfOracleCurve) {
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 416, {13, 32}))), 0x3d7ef69458ef85e5u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 400, {13, 32}))), 0x1a091f479edc85u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 1000, {30, 37}))), 0xa3d74c046e0c0b59u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 99, {9, 11}))), 0x1185ce13119e5044u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 192, {64, 3}))), 0x8a3c28a046d75965u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 5000))), 0x14d65074221e4b15u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kHilbert, 65536))), 0x7e2e3a2d9b759725u);
}

TEST(EvenHalf, IsEvenAboveLengthTwo) {
  EXPECT_EQ(even_half(2), 1);
  for (std::int64_t length = 3; length < 100; ++length) {
    EXPECT_EQ(even_half(length) % 2, 0) << length;
    EXPECT_LE(std::abs(2 * even_half(length) - length), 2) << length;
  }
}

}  // namespace
}  // namespace hilbertring::testing

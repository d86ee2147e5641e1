#include "drivers/errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace hilbertring {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Errors errors_of(double actual, double expected, double bound) {
  Errors errors;
  errors.add({}, actual, expected, bound);
  return errors;
}

TEST(Errors, PassesUpToTheBoundAndNoFurther) {
  EXPECT_TRUE(errors_of(1.5, 1.0, 0.5).passes());
  EXPECT_FALSE(errors_of(1.5, 1.0, 0.49).passes());
  EXPECT_TRUE(errors_of(0, 0, 0).passes());
  EXPECT_FALSE(errors_of(1e-300, 0, 0).passes());
}

TEST(Errors, NothingComparedIsNoPass) { EXPECT_FALSE(Errors().passes()); }

TEST(Errors, NanNeverPasses) {
  EXPECT_FALSE(errors_of(kNan, 1, kInfinity).passes());
  EXPECT_FALSE(errors_of(1, kNan, 1).passes());
  EXPECT_FALSE(errors_of(kNan, kNan, 1).passes());
  EXPECT_FALSE(errors_of(1.5, 1, kNan).passes());
}

TEST(Errors, InfinitiesMustBeEqual) {
  EXPECT_TRUE(errors_of(-kInfinity, -kInfinity, 0).passes());
  EXPECT_FALSE(errors_of(-kInfinity, kInfinity, 1).passes());
  EXPECT_FALSE(errors_of(-kInfinity, 3, 1).passes());
  EXPECT_FALSE(errors_of(3, -kInfinity, 1).passes());
}

TEST(Errors, KeepsTheWorstElementAcrossMerges) {
  Errors a = errors_of(1, 1, 1), b;
  b.add({.batch = 0, .token = 7, .head = 2, .column = 3}, 1.8, 1.0, 1.0);
  b.add({.batch = 0, .token = 8, .head = 2, .column = 3}, 11.0, 10.0, 100.0);

  a.merge(b);

  EXPECT_EQ(a.num_elements(), 3);
  EXPECT_DOUBLE_EQ(a.max_error(), 1.0);
  EXPECT_DOUBLE_EQ(a.worst_fraction(), 0.8);
  EXPECT_EQ(a.worst_place().token, 7);
  EXPECT_DOUBLE_EQ(a.rms_error(), std::sqrt((0.8 * 0.8 + 1) / 3));
}

TEST(Errors, MergeKeepsNan) {
  Errors a = errors_of(kNan, 1, 1);
  a.merge(errors_of(1, 1, 1));

  EXPECT_FALSE(a.passes());
  EXPECT_TRUE(std::isnan(a.max_error()));
}

}  // namespace
}  // namespace hilbertring

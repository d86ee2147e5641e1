#include "core/shape.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace hilbertring {
namespace {

constexpr Shape kGood{.batch = 2, .tokens = 8192, .heads = 8, .kv_heads = 4, .head_dim = 64};

std::string refusal_of(const Shape& shape) {
  try {
    shape.validate();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

TEST(ShapeTest, PrintsEverySize) { EXPECT_EQ(to_string(kGood), "B=2 N=8192 H=8 G=4 D=64"); }

TEST(ShapeTest, AcceptsEveryHeadDimensionInStepsOfEight) {
  Shape shape = kGood;

  for (shape.head_dim = 8; shape.head_dim <= 256; shape.head_dim += 8) EXPECT_NO_THROW(shape.validate()) << shape.head_dim;
}

TEST(ShapeTest, CountsQueryHeadsPerKvHead) { EXPECT_EQ(kGood.heads_per_kv_head(), 2); }

TEST(ShapeTest, RefusesSizesBelowOne) {
  Shape shape = kGood;

  shape.batch = 0;
  EXPECT_EQ(refusal_of(shape), "batch size B is 0, but must be at least 1");
  shape = kGood;
  shape.tokens = -3;
  EXPECT_EQ(refusal_of(shape), "number of tokens N is -3, but must be at least 1");
  shape = kGood;
  shape.heads = 0;
  EXPECT_EQ(refusal_of(shape), "number of heads H is 0, but must be at least 1");
  shape = kGood;
  shape.kv_heads = 0;
  EXPECT_EQ(refusal_of(shape), "number of KV heads G is 0, but must be at least 1");
  shape = kGood;
  shape.head_dim = 0;
  EXPECT_EQ(refusal_of(shape), "head dimension D is 0, but must be at least 1");
}

TEST(ShapeTest, RefusesHeadsThatDoNotShareKvHeadsEvenly) {
  Shape shape = kGood;
  shape.kv_heads = 3;

  EXPECT_EQ(refusal_of(shape), "number of heads H is 8, but must be a multiple of the number of KV heads G, which is 3");
}

TEST(ShapeTest, RefusesOtherHeadDimensions) {
  Shape shape = kGood;

  for (const std::int64_t head_dim : {1, 12, 255, 264}) {
    shape.head_dim = head_dim;
    EXPECT_EQ(refusal_of(shape), "head dimension D is " + std::to_string(head_dim) + ", but must be a multiple of 8 from 8 to 256");
  }
}

}  // namespace
}  // namespace hilbertring

// Values: the kernels against plain loops in float64.
#include "core/cpu/cpu_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "attention_case.h"
#include "band_branch.h"
#include "core/error.h"
#include "random_specification.h"

namespace hilbertring {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Specification dense_specification(std::int64_t num_tokens, Causal causal = Causal::kNone) {
  return {.segment_lengths = {num_tokens}, .dilation_rates = {1}, .causal = causal};
}

/// One call with all pairs, on two threads.
KernelResult run_at_once(const AttentionCase& c, std::int64_t chunk) {
  const auto attention = make_cpu_attention(2);
  return run_kernels(c, *attention, ring_pairs(c.shape.tokens, chunk), std::numeric_limits<std::uint32_t>::max());
}

class RandomSpecification : public testing::TestWithParam<std::uint64_t> {};

TEST_P(RandomSpecification, EqualsADenseLoop) {
  Draw draw(GetParam());
  Shape shape = draw_shape(draw, 300);
  shape.batch = draw.between(1, 2);
  shape.head_dim = draw.one_of<std::int64_t>({8, 16, 24, 40, 64, 72, 128});
  const Specification specification = draw_specification(draw, shape);
  const Pattern pattern(specification, shape);
  const ElementType type = draw.one_of<ElementType>({ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64});
  const AttentionCase c = make_case(pattern, type, GetParam());

  const KernelResult result = run_at_once(c, draw.between(1, shape.tokens));

  const DenseResult truth = evaluate_densely<double>(c);
  const std::string shown = "seed " + std::to_string(GetParam()) + ": " + to_string(shape) + ", " + std::string(to_string(type)) + ", ";
  EXPECT_EQ(find_misses(c, result, truth, unit_roundoff(arithmetic_type(type))), "") << shown << to_json(specification);
  EXPECT_EQ(result.num_pairs, truth.num_pairs) << shown << to_json(specification);
}
INSTANTIATE_TEST_SUITE_P(Seeds, RandomSpecification, testing::Range<std::uint64_t>(0, 80));

class HeadDimension : public testing::TestWithParam<int> {};

TEST_P(HeadDimension, EqualsADenseLoop) {
  const Shape shape{.batch = 1, .tokens = 150, .heads = 2, .kv_heads = 1, .head_dim = GetParam()};
  const Pattern pattern(dense_specification(150, Causal::kSequence), shape);
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat64}) {
    const AttentionCase c = make_case(pattern, type, 1);

    const KernelResult result = run_at_once(c, 97);

    EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_roundoff(type)), "") << to_string(type);
  }
}
INSTANTIATE_TEST_SUITE_P(EveryOne, HeadDimension, testing::Range(8, 257, 8));

TEST(CpuAttention, FoldsBranchesThatItHasNeverHeardOf) {
  const Shape shape{.batch = 1, .tokens = 400, .heads = 3, .kv_heads = 1, .head_dim = 16};
  for (const Causal causal : {Causal::kNone, Causal::kPosition, Causal::kSequence}) {
    std::vector<std::unique_ptr<const Branch>> branches;
    branches.push_back(std::make_unique<Band>(60, shape.tokens));
    branches.push_back(std::make_unique<Band>(5, shape.tokens));
    const Pattern pattern(shape, causal, std::move(branches));
    const AttentionCase c = make_case(pattern, ElementType::kFloat32, 3);

    const KernelResult result = run_at_once(c, 170);

    const DenseResult truth = evaluate_densely<double>(c);
    EXPECT_EQ(find_misses(c, result, truth, unit_roundoff(c.type)), "");
    EXPECT_EQ(result.num_pairs, truth.num_pairs);
  }
}

TEST(CpuAttention, EqualsADenseLoopWherePiecesAndTilesMeet) {
  // More than one piece of 1024 queries and of 2048 keys, none of them full.
  const Shape shape{.batch = 1, .tokens = 2300, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {2300, 700}, .dilation_rates = {5, 1}, .causal = Causal::kSequence}, shape);
  const AttentionCase c = make_case(pattern, ElementType::kFloat32, 4);

  const KernelResult result = run_at_once(c, 2200);

  const DenseResult truth = evaluate_densely<double>(c);
  EXPECT_EQ(find_misses(c, result, truth, unit_roundoff(c.type)), "");
  EXPECT_EQ(result.num_pairs, truth.num_pairs);
}

TEST(CpuAttention, EmptyRowIsZeroNotNan) {
  // Only even positions ask and answer; and of these the last in time sees all, the first only itself.
  const Shape shape{.batch = 1, .tokens = 64, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {64}, .dilation_rates = {2}, .causal = Causal::kSequence}, shape);
  AttentionCase c = make_case(pattern, ElementType::kFloat32, 5);
  // Query 10 is earlier than every key: empty by causality, in a tile that is not.
  c.query_times[10] = -1;

  const KernelResult result = run_at_once(c, 64);

  for (const std::int64_t row : {1, 10, 63}) {
    EXPECT_EQ(load_element(result.lse2.data(), c.type, row), -kInfinity) << row;
    for (std::int64_t d = 0; d < 8; ++d) {
      EXPECT_EQ(load_element(result.o.data(), c.type, row * 8 + d), 0) << row;
      EXPECT_EQ(load_element(result.dq.data(), c.type, row * 8 + d), 0) << row;
    }
  }
  EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_roundoff(c.type)), "");
}

TEST(CpuAttention, SurvivesScoreGapOf1e4) {
  const Shape shape{.batch = 1, .tokens = 300, .heads = 2, .kv_heads = 2, .head_dim = 8};
  const Pattern pattern(dense_specification(300), shape);
  AttentionCase c = make_case(pattern, ElementType::kFloat32, 6);
  c.scale = 1;
  // Head 0 meets its large scores first, head 1 last: every row_max before it is 1e4 too small.
  for (std::int64_t head = 0; head < 2; ++head) {
    for (std::int64_t row = 0; row < 300; ++row) {
      for (std::int64_t d = 0; d < 8; ++d) {
        const bool large = head == 0 ? row < 20 : row >= 280;
        set_element(c, c.q, (head * 300 + row) * 8 + d, d == 0 ? 100 : 0);
        set_element(c, c.k, (head * 300 + row) * 8 + d, d == 0 ? (large ? 100 : -100) : 0);
      }
    }
  }

  const KernelResult result = run_at_once(c, 100);

  EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_roundoff(c.type)), "");
}

TEST(CpuAttention, GradientsAreTheSlopesOfTheOutput) {
  const Shape shape{.batch = 1, .tokens = 60, .heads = 4, .kv_heads = 2, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {12, 30}, .dilation_rates = {1, 3}, .dilate = Dilate::kKv, .offset = Offset::kHeadMod}, shape);
  AttentionCase c = make_case(pattern, ElementType::kFloat64, 7);
  const KernelResult result = run_at_once(c, 16);
  const auto loss = [&] {
    const KernelResult moved = run_at_once(c, 16);
    double sum = 0;
    for (std::int64_t i = 0; i < 4 * 60 * 8; ++i) sum += element(c, moved.o, i) * element(c, c.d_o, i);
    return sum;
  };
  const auto expect_slope = [&](std::vector<std::byte>& input, const std::vector<std::byte>& gradient, std::int64_t at) {
    constexpr double kStep = 1e-5;
    const double kept = element(c, input, at);
    set_element(c, input, at, kept + kStep);
    const double above = loss();
    set_element(c, input, at, kept - kStep);
    const double below = loss();
    set_element(c, input, at, kept);
    EXPECT_NEAR(element(c, gradient, at), (above - below) / (2 * kStep), 1e-8) << at;
  };

  for (const std::int64_t at : {0, 133, 555, 959}) {
    expect_slope(c.q, result.dq, at);
    expect_slope(c.k, result.dk, at);
    expect_slope(c.v, result.dv, at);
  }
}

TEST(CpuAttention, LowPrecisionErrorIsAtMostTwiceThatOfAPlainLoop) {
  const Shape shape{.batch = 1, .tokens = 500, .heads = 2, .kv_heads = 2, .head_dim = 64};
  const Pattern pattern(dense_specification(500), shape);
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32}) {
    const AttentionCase c = make_case(pattern, type, 8);
    const DenseResult truth = evaluate_densely<double>(c);
    const DenseResult plain = evaluate_densely<float>(c);

    const KernelResult result = run_at_once(c, 500);

    const auto expect_close = [&](const char* name, const std::vector<std::byte>& ours, const DenseTensor& exact, const DenseTensor& by_loop) {
      double plain_error = 0;
      for (std::size_t i = 0; i < exact.value.size(); ++i) plain_error = std::max(plain_error, std::abs(by_loop.value[i] - exact.value[i]));
      EXPECT_LE(max_error(c, ours, exact.value), 2 * plain_error) << name << " " << to_string(type);
    };
    expect_close("o", result.o, truth.o, plain.o);
    expect_close("dq", result.dq, truth.dq, plain.dq);
    expect_close("dk", result.dk, truth.dk, plain.dk);
    expect_close("dv", result.dv, truth.dv, plain.dv);
  }
}

TEST(CpuAttention, RefusesWithOneLineThatNamesTheTensor) {
  const Shape shape{.batch = 1, .tokens = 16, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern(dense_specification(16), shape);
  AttentionCase c = make_case(pattern, ElementType::kFloat32, 9);
  c.shape.head_dim = 16;

  try {
    run_at_once(c, 16);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_STREQ(error.what(), "tensor q is [1, 1, 16, 16] of float32, but must be [1, 1, 16, 8] of float32");
  }
  EXPECT_THROW(make_cpu_attention(0), Error);
}

TEST(CpuAttention, RefusesChunksOutsideTheTensor) {
  const Shape shape{.batch = 1, .tokens = 16, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern(dense_specification(16), shape);
  const AttentionCase c = make_case(pattern, ElementType::kFloat32, 10);
  const auto attention = make_cpu_attention(1);

  EXPECT_THROW(run_kernels(c, *attention, ring_pairs(17, 17), 1), Error);
}

}  // namespace
}  // namespace hilbertring

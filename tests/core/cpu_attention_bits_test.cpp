// Bits: what must not change a single one of them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "attention_case.h"
#include "core/cpu/cpu_attention.h"
#include "core/error.h"
#include "random_specification.h"

namespace hilbertring {
namespace {

constexpr std::size_t kAllAtOnce = std::numeric_limits<std::uint32_t>::max();

/// A pattern with everything that decides the order of sums: several branches, shared KV heads, partial tiles, odd lengths.
class CpuBits : public testing::TestWithParam<ElementType> {
 protected:
  CpuBits() : shape_{.batch = 1, .tokens = 700, .heads = 4, .kv_heads = 2, .head_dim = 40}, pattern_(specification(), shape_) {}
  ~CpuBits() override { force_cpu_instruction_set(""); }

  static Specification specification() {
    return {.segment_lengths = {90, 350, 700}, .dilation_rates = {1, 3, 7}, .offset = Offset::kHeadMod, .causal = Causal::kSequence};
  }
  KernelResult run(int num_threads, std::size_t pairs_per_call = kAllAtOnce) const {
    const auto attention = make_cpu_attention(num_threads);
    return run_kernels(make_case(pattern_, GetParam(), 1), *attention, ring_pairs(shape_.tokens, 260), pairs_per_call);
  }

  Shape shape_;
  Pattern pattern_;
};

TEST_P(CpuBits, SameForAnyInstructionSet) {
  const std::vector<std::string> sets = cpu_instruction_sets();
  const KernelResult best = run(2);

  for (const std::string& set : sets) {
    force_cpu_instruction_set(set);
    EXPECT_EQ(cpu_instruction_set(), set);
    EXPECT_TRUE(run(2) == best) << set;
  }
}

TEST_P(CpuBits, SameForAnyThreadCount) {
  // Two KV heads: one and two threads take the single pass, three and more the two passes.
  const KernelResult one = run(1);

  for (const int num_threads : {2, 3, 5}) EXPECT_TRUE(run(num_threads) == one) << num_threads << " threads";
}

TEST_P(CpuBits, SameHoweverPairsAreSpreadOverCalls) {
  const KernelResult one_call = run(2);

  for (const std::size_t pairs_per_call : {1, 2, 5}) {
    EXPECT_TRUE(run(2, pairs_per_call) == one_call) << pairs_per_call;
    EXPECT_TRUE(run(3, pairs_per_call) == one_call) << pairs_per_call;
  }
}

TEST_P(CpuBits, SameForEveryRepeat) {
  const AttentionCase c = make_case(pattern_, GetParam(), 1);
  const auto attention = make_cpu_attention(2);
  const auto pairs = ring_pairs(shape_.tokens, 260);
  const KernelResult first = run_kernels(c, *attention, pairs, kAllAtOnce);

  // The second time its memory holds what other tiles have left.
  EXPECT_TRUE(run_kernels(c, *attention, pairs, kAllAtOnce) == first);
}

INSTANTIATE_TEST_SUITE_P(Types, CpuBits, testing::Values(ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64),
                         [](const auto& param) { return std::string(to_string(param.param)); });

TEST(CpuBitsOfPieces, OneAndTwoPassesAgreeWherePiecesMeet) {
  const Shape shape{.batch = 1, .tokens = 5000, .heads = 2, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {600, 5000}, .dilation_rates = {1, 6}, .dilate = Dilate::kKv, .causal = Causal::kPosition}, shape);
  const AttentionCase c = make_case(pattern, ElementType::kFloat32, 2);
  const auto single = make_cpu_attention(1);
  const auto several = make_cpu_attention(4);
  const auto pairs = ring_pairs(shape.tokens, 4500);

  EXPECT_TRUE(run_kernels(c, *single, pairs, kAllAtOnce) == run_kernels(c, *several, pairs, kAllAtOnce));
}

TEST(CpuInstructionSets, RefusesAnUnknownNameWithTheNearest) {
  EXPECT_FALSE(cpu_instruction_sets().empty());
  try {
    force_cpu_instruction_set("no such set");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
}

/// Poisons every row that no pair names, and rows that no branch uses: nothing may come of it.
TEST(CpuAttention, ReadsNothingOutsideTheRowsNamed) {
  const Shape shape{.batch = 2, .tokens = 400, .heads = 2, .kv_heads = 2, .head_dim = 24};
  const Pattern pattern({.segment_lengths = {400}, .dilation_rates = {3}, .causal = Causal::kPosition}, shape);
  const auto attention = make_cpu_attention(2);
  const ChunkRows middle{{Position(130), Position(290)}, LocalRow(130)};
  const std::vector<ChunkPair> pairs = {{middle, middle}};
  const AttentionCase clean = make_case(pattern, ElementType::kFloat32, 3);
  AttentionCase poisoned = clean;
  for (std::int64_t i = 0; i < 4 * 400 * 24; ++i) {
    const std::int64_t row = i / 24 % 400;
    if (middle.positions.contains(Position(row)) && row % 3 == 0) continue;
    for (auto* tensor : {&poisoned.q, &poisoned.k, &poisoned.v, &poisoned.d_o}) {
      set_element(poisoned, *tensor, i, std::numeric_limits<double>::quiet_NaN());
    }
  }

  const KernelResult expected = run_kernels(clean, *attention, pairs, 1);
  KernelResult result = run_kernels(poisoned, *attention, pairs, 1);

  // delta is NaN where dO is: rows that nobody reads.
  result.delta = expected.delta;
  EXPECT_TRUE(result == expected);
  for (std::int64_t i = 0; i < 4 * 400 * 24; ++i) {
    const std::int64_t row = i / 24 % 400;
    if (middle.positions.contains(Position(row))) continue;
    for (const auto* tensor : {&result.o, &result.dq, &result.dk, &result.dv}) ASSERT_EQ(element(clean, *tensor, i), 0) << row;
  }
}

}  // namespace
}  // namespace hilbertring

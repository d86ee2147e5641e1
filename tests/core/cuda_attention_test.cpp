// The GPU's kernels against plain loops in float64, and against themselves bit by bit. Skipped where there is no GPU.
#include "core/cuda/cuda_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "attention_case.h"
#include "band_branch.h"
#include "core/cuda/device.h"
#include "core/error.h"
#include "device_copies.h"
#include "plain_low_precision.h"
#include "random_specification.h"

namespace hilbertring {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kAllAtOnce = std::numeric_limits<std::uint32_t>::max();
const std::vector<ElementType> kTypes = {ElementType::kFloat16, ElementType::kBfloat16, ElementType::kFloat32, ElementType::kFloat64};

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = missing_gpu(); !reason.empty()) GTEST_SKIP() << "skipped, needs a GPU: " << reason;
  }
};
template <class T>
class GpuTestWith : public GpuTest, public testing::WithParamInterface<T> {};

using CudaAttention = GpuTest;

Specification dense_specification(std::int64_t num_tokens, Causal causal = Causal::kNone) {
  return {.segment_lengths = {num_tokens}, .dilation_rates = {1}, .causal = causal};
}

KernelResult run_in_calls(const AttentionCase& c, std::int64_t chunk, std::size_t pairs_per_call = kAllAtOnce,
                          std::int64_t score_gradient_bytes = kScoreGradientBytes) {
  const auto attention = make_copying_cuda_attention(score_gradient_bytes);
  return run_kernels(c, *attention, ring_pairs(c.shape.tokens, chunk), pairs_per_call);
}

/// Of the factors that the kernels round: probabilities and their gradients are of the inputs' type.
double unit_of(ElementType type) { return unit_roundoff(type); }

class CudaRandomSpecification : public GpuTestWith<std::uint64_t> {};

TEST_P(CudaRandomSpecification, EqualsADenseLoop) {
  Draw draw(GetParam());
  Shape shape = draw_shape(draw, 300);
  shape.batch = draw.between(1, 2);
  shape.head_dim = draw.one_of<std::int64_t>({8, 16, 24, 40, 64, 72, 128, 136, 256});
  const Specification specification = draw_specification(draw, shape);
  const Pattern pattern(specification, shape);
  const ElementType type = draw.one_of(kTypes);
  const AttentionCase c = make_case(pattern, type, GetParam());
  const std::int64_t chunk = draw.between(1, shape.tokens);

  const KernelResult result = run_in_calls(c, chunk);

  const DenseResult truth = evaluate_densely<double>(c);
  const std::string shown = "seed " + std::to_string(GetParam()) + ": " + to_string(shape) + ", " + std::string(to_string(type)) + ", chunk " +
                            std::to_string(chunk) + ", " + to_json(specification);
  EXPECT_EQ(find_misses(c, result, truth, unit_of(type)), "") << shown;
  EXPECT_EQ(result.num_pairs, truth.num_pairs) << shown;
}
INSTANTIATE_TEST_SUITE_P(Seeds, CudaRandomSpecification, testing::Range<std::uint64_t>(0, 120));

class CudaHeadDimension : public GpuTestWith<int> {};

TEST_P(CudaHeadDimension, EqualsADenseLoop) {
  const Shape shape{.batch = 1, .tokens = 150, .heads = 2, .kv_heads = 1, .head_dim = GetParam()};
  const Pattern pattern(dense_specification(150, Causal::kSequence), shape);
  for (const ElementType type : kTypes) {
    const AttentionCase c = make_case(pattern, type, 1);

    const KernelResult result = run_in_calls(c, 97);

    EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_of(type)), "") << to_string(type);
  }
}
INSTANTIATE_TEST_SUITE_P(EveryOne, CudaHeadDimension, testing::Range(8, 257, 8));

TEST_F(CudaAttention, FoldsBranchesThatItHasNeverHeardOf) {
  const Shape shape{.batch = 1, .tokens = 400, .heads = 3, .kv_heads = 1, .head_dim = 16};
  for (const Causal causal : {Causal::kNone, Causal::kPosition, Causal::kSequence}) {
    for (const ElementType type : {ElementType::kBfloat16, ElementType::kFloat32}) {
      std::vector<std::unique_ptr<const Branch>> branches;
      branches.push_back(std::make_unique<Band>(60, shape.tokens));
      branches.push_back(std::make_unique<Band>(5, shape.tokens));
      const Pattern pattern(shape, causal, std::move(branches));
      const AttentionCase c = make_case(pattern, type, 3);

      const KernelResult result = run_in_calls(c, 170);

      const DenseResult truth = evaluate_densely<double>(c);
      EXPECT_EQ(find_misses(c, result, truth, unit_of(type)), "") << to_string(type);
      EXPECT_EQ(result.num_pairs, truth.num_pairs);
    }
  }
}

TEST_F(CudaAttention, EqualsADenseLoopOverManyTilesOfStridedRuns) {
  for (const Causal causal : {Causal::kNone, Causal::kPosition, Causal::kSequence}) {
    for (const Dilate dilate : {Dilate::kQkv, Dilate::kKv}) {
      for (const auto& [type, head_dim] : {std::pair{ElementType::kFloat16, 64}, {ElementType::kBfloat16, 128}, {ElementType::kFloat32, 64}}) {
        const Shape shape{.batch = 1, .tokens = 1500, .heads = 2, .kv_heads = 1, .head_dim = head_dim};
        const Pattern pattern({.segment_lengths = {1500, 400}, .dilation_rates = {3, 1}, .dilate = dilate, .causal = causal}, shape);
        const AttentionCase c = make_case(pattern, type, 4);

        const KernelResult result = run_in_calls(c, 700);

        const DenseResult truth = evaluate_densely<double>(c);
        EXPECT_EQ(find_misses(c, result, truth, unit_of(type)), "") << to_string(type);
        EXPECT_EQ(result.num_pairs, truth.num_pairs);
      }
    }
  }
}

TEST_F(CudaAttention, EqualsADenseLoopWithMoreStridesThanTheCopyEngineIsToldOf) {
  constexpr std::int64_t kTokens = 1600;
  const Shape shape{.batch = 2, .tokens = kTokens, .heads = 1, .kv_heads = 1, .head_dim = 64};
  const Pattern pattern({.segment_lengths = std::vector<std::int64_t>(10, kTokens), .dilation_rates = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}, shape);
  const AttentionCase c = make_case(pattern, ElementType::kBfloat16, 6);

  const KernelResult result = run_in_calls(c, kTokens);

  EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_of(ElementType::kBfloat16)), "");
}

/// Scales of either sign, and 0, all small: probabilities below 2^-25 are 0 in float16, whatever computes them.
void expect_right_at_any_scale(const Pattern& pattern, std::int64_t rows_of_call, const std::function<void(AttentionCase&)>& prepare) {
  for (const double scale : {-0.2, 0.0, 0.3}) {
    for (const ElementType type : kTypes) {
      AttentionCase c = make_case(pattern, type, 5);
      c.scale = scale;
      prepare(c);

      const KernelResult result = run_in_calls(c, rows_of_call);

      EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_of(type)), "") << to_string(type) << " scale " << scale;
    }
  }
}

TEST_F(CudaAttention, TakesAnyScale) {
  const Shape shape{.batch = 1, .tokens = 200, .heads = 1, .kv_heads = 1, .head_dim = 32};

  expect_right_at_any_scale(Pattern(dense_specification(200, Causal::kPosition), shape), 90, [](AttentionCase&) {});
}

/// Tiles that causality by other times than positions leaves whole have no times at hand to be masked by.
TEST_F(CudaAttention, TakesAnyScaleInWholeTiles) {
  const Shape shape{.batch = 1, .tokens = 600, .heads = 1, .kv_heads = 1, .head_dim = 32};

  expect_right_at_any_scale(Pattern(dense_specification(600, Causal::kSequence), shape), 600, [](AttentionCase& c) {
    std::iota(c.query_times.begin(), c.query_times.end(), 0);
    c.key_times = c.query_times;
  });
}

TEST_F(CudaAttention, EmptyRowIsZeroNotNan) {
  const Shape shape{.batch = 1, .tokens = 64, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern({.segment_lengths = {64}, .dilation_rates = {2}, .causal = Causal::kSequence}, shape);
  for (const ElementType type : kTypes) {
    AttentionCase c = make_case(pattern, type, 5);
    // Query 10 is earlier than every key: empty by causality, in a tile that is not.
    c.query_times[10] = -1;

    const KernelResult result = run_in_calls(c, 64);

    for (const std::int64_t row : {1, 10, 63}) {
      EXPECT_EQ(load_element(result.lse2.data(), arithmetic_type(type), row), -kInfinity) << row;
      for (std::int64_t d = 0; d < 8; ++d) {
        EXPECT_EQ(load_element(result.o.data(), arithmetic_type(type), row * 8 + d), 0) << row;
        EXPECT_EQ(load_element(result.dq.data(), arithmetic_type(type), row * 8 + d), 0) << row;
      }
    }
    EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_of(type)), "") << to_string(type);
  }
}

TEST_F(CudaAttention, SurvivesScoreGapOf1e4) {
  const Shape shape{.batch = 1, .tokens = 300, .heads = 2, .kv_heads = 2, .head_dim = 8};
  const Pattern pattern(dense_specification(300), shape);
  for (const ElementType type : {ElementType::kBfloat16, ElementType::kFloat32}) {
    AttentionCase c = make_case(pattern, type, 6);
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

    const KernelResult result = run_in_calls(c, 100);

    EXPECT_EQ(find_misses(c, result, evaluate_densely<double>(c), unit_of(type)), "") << to_string(type);
  }
}

TEST_F(CudaAttention, LowPrecisionErrorIsAtMostTwiceThatOfAPlainLoop) {
  const Shape shape{.batch = 1, .tokens = 500, .heads = 2, .kv_heads = 2, .head_dim = 128};
  const Pattern pattern(dense_specification(500), shape);
  for (const ElementType type : {ElementType::kFloat16, ElementType::kBfloat16}) {
    const AttentionCase c = make_case(pattern, type, 8);
    const DenseResult truth = evaluate_densely<double>(c);
    const LowPrecisionResult plain = evaluate_in_low_precision(c);

    const KernelResult result = run_in_calls(c, 500);

    const auto expect_close = [&](const char* name, const std::vector<std::byte>& ours, const DenseTensor& exact, const std::vector<float>& by_loop) {
      double plain_error = 0;
      for (std::size_t i = 0; i < exact.value.size(); ++i) plain_error = std::max(plain_error, std::abs(double{by_loop[i]} - exact.value[i]));
      const double error = max_error(c, ours, exact.value);
      EXPECT_LE(error, 2 * plain_error) << name << " " << to_string(type);
      RecordProperty(std::string(name) + "_" + std::string(to_string(type)), std::to_string(error / plain_error));
    };
    expect_close("o", result.o, truth.o, plain.o);
    expect_close("dq", result.dq, truth.dq, plain.dq);
    expect_close("dk", result.dk, truth.dk, plain.dk);
    expect_close("dv", result.dv, truth.dv, plain.dv);
  }
}

TEST_F(CudaAttention, Float32IsWithin1e5OfTheTruth) {
  const Shape shape{.batch = 1, .tokens = 500, .heads = 2, .kv_heads = 1, .head_dim = 128};
  const Pattern pattern(dense_specification(500, Causal::kPosition), shape);
  const AttentionCase c = make_case(pattern, ElementType::kFloat32, 9);
  const DenseResult truth = evaluate_densely<double>(c);

  const KernelResult result = run_in_calls(c, 200);

  for (const auto& [ours, exact] : {std::pair{&result.o, &truth.o}, {&result.dq, &truth.dq}, {&result.dk, &truth.dk}, {&result.dv, &truth.dv}}) {
    double largest = 0;
    for (const double value : exact->value) largest = std::max(largest, std::abs(value));
    EXPECT_LE(max_error(c, *ours, exact->value), 1e-5 * largest);
  }
}

/// A pattern with everything that decides the order of sums: several branches, shared KV heads, partial tiles, odd lengths.
class CudaBits : public GpuTestWith<ElementType> {
 protected:
  CudaBits() : shape_{.batch = 1, .tokens = 700, .heads = 4, .kv_heads = 2, .head_dim = 40}, pattern_(specification(), shape_) {}

  static Specification specification() {
    return {.segment_lengths = {90, 350, 700}, .dilation_rates = {1, 3, 7}, .offset = Offset::kHeadMod, .causal = Causal::kSequence};
  }
  KernelResult run(std::size_t pairs_per_call = kAllAtOnce) const { return run_in_calls(make_case(pattern_, GetParam(), 1), 260, pairs_per_call); }

  Shape shape_;
  Pattern pattern_;
};

TEST_P(CudaBits, SameInEveryRepeat) {
  const KernelResult first = run();

  for (int repeat = 0; repeat < 10; ++repeat) EXPECT_TRUE(run() == first) << repeat;
}

TEST_P(CudaBits, SameHoweverPairsAreSpreadOverCalls) {
  const KernelResult one_call = run();

  for (const std::size_t pairs_per_call : {1, 2, 5}) EXPECT_TRUE(run(pairs_per_call) == one_call) << pairs_per_call;
}

TEST_P(CudaBits, SameHoweverDensePairsAreSpreadOverCalls) {
  const Shape shape{.batch = 1, .tokens = 1000, .heads = 2, .kv_heads = 1, .head_dim = 128};
  for (const Causal causal : {Causal::kNone, Causal::kPosition}) {
    const Pattern pattern(dense_specification(1000, causal), shape);
    const AttentionCase c = make_case(pattern, GetParam(), 2);
    const KernelResult one_call = run_in_calls(c, 170);

    for (const std::size_t pairs_per_call : {1, 6, 7}) EXPECT_TRUE(run_in_calls(c, 170, pairs_per_call) == one_call) << pairs_per_call;
  }
}

/// Room for everything, for some planes or for some rows at a time: chunks of whole tiles, and a short last one.
TEST_P(CudaBits, SameWhetherScoreGradientsAreKept) {
  for (const std::int64_t head_dim : {24, 64, 80, 128}) {
    const Shape shape{.batch = 2, .tokens = 1500, .heads = 4, .kv_heads = 2, .head_dim = head_dim};
    for (const Causal causal : {Causal::kNone, Causal::kPosition}) {
      const Pattern pattern(dense_specification(1500, causal), shape);
      const AttentionCase c = make_case(pattern, GetParam(), 4);
      const KernelResult computed_twice = run_in_calls(c, 256, kAllAtOnce, 0);

      for (const std::int64_t bytes : {kScoreGradientBytes, std::int64_t{12} << 20, std::int64_t{1} << 20}) {
        EXPECT_TRUE(run_in_calls(c, 256, kAllAtOnce, bytes) == computed_twice) << bytes;
      }
      EXPECT_TRUE(run_in_calls(c, 256, 5) == computed_twice);
    }
  }
}

/// Runs of several whole tiles and a tail, in strides that the chunks' lengths are no multiples of.
TEST_P(CudaBits, SameHoweverStridedPairsAreSpreadOverCalls) {
  for (const std::int64_t head_dim : {64, 128}) {
    const Shape shape{.batch = 1, .tokens = 3000, .heads = 2, .kv_heads = 1, .head_dim = head_dim};
    for (const Causal causal : {Causal::kNone, Causal::kPosition, Causal::kSequence}) {
      const Pattern pattern({.segment_lengths = {3000, 1100, 3000}, .dilation_rates = {4, 1, 3}, .offset = Offset::kHeadMod, .causal = causal},
                            shape);
      const AttentionCase c = make_case(pattern, GetParam(), 3);
      const KernelResult one_call = run_in_calls(c, 1300);

      for (const std::size_t pairs_per_call : {1, 2, 4}) EXPECT_TRUE(run_in_calls(c, 1300, pairs_per_call) == one_call) << pairs_per_call;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaBits, testing::ValuesIn(kTypes), [](const auto& param) { return std::string(to_string(param.param)); });

/// A chunk in the middle of the shard attends to itself along every `dilation_rate`th row; all other rows are poison.
struct MiddleChunk {
  std::int64_t tokens, begin, end, dilation_rate, head_dim;
};

/// Poisons every row that no pair names, and rows that no branch uses: nothing may come of it.
void expect_nothing_read_outside(const MiddleChunk& chunk, ElementType type) {
  const Shape shape{.batch = 2, .tokens = chunk.tokens, .heads = 2, .kv_heads = 2, .head_dim = chunk.head_dim};
  const Pattern pattern({.segment_lengths = {chunk.tokens}, .dilation_rates = {chunk.dilation_rate}, .causal = Causal::kPosition}, shape);
  const auto attention = make_copying_cuda_attention();
  const ChunkRows middle{{Position(chunk.begin), Position(chunk.end)}, LocalRow(chunk.begin)};
  const std::vector<ChunkPair> pairs = {{middle, middle}};
  const std::int64_t num_elements = 4 * chunk.tokens * chunk.head_dim;
  const auto row_of = [&](std::int64_t i) { return i / chunk.head_dim % chunk.tokens; };
  const AttentionCase clean = make_case(pattern, type, 3);
  AttentionCase poisoned = clean;
  for (std::int64_t i = 0; i < num_elements; ++i) {
    if (middle.positions.contains(Position(row_of(i))) && row_of(i) % chunk.dilation_rate == 0) continue;
    for (auto* tensor : {&poisoned.q, &poisoned.k, &poisoned.v, &poisoned.d_o}) {
      set_element(poisoned, *tensor, i, std::numeric_limits<double>::quiet_NaN());
    }
  }

  const KernelResult expected = run_kernels(clean, *attention, pairs, 1);
  KernelResult result = run_kernels(poisoned, *attention, pairs, 1);

  // delta is NaN where dO is: rows that nobody reads.
  result.delta = expected.delta;
  EXPECT_TRUE(result == expected) << to_string(type);
  for (std::int64_t i = 0; i < num_elements; ++i) {
    if (middle.positions.contains(Position(row_of(i)))) continue;
    for (const auto* tensor : {&result.o, &result.dq, &result.dk, &result.dv}) {
      ASSERT_EQ(load_element(tensor->data(), arithmetic_type(type), i), 0) << to_string(type) << " row " << row_of(i);
    }
  }
}

TEST_F(CudaAttention, ReadsNothingOutsideTheRowsNamed) {
  for (const ElementType type : kTypes)
    expect_nothing_read_outside({.tokens = 400, .begin = 130, .end = 290, .dilation_rate = 3, .head_dim = 24}, type);
}

/// Whole tiles, which the copy engine fetches, and a tail; at both ends of the shard, too.
TEST_F(CudaAttention, ReadsNothingOutsideWholeTilesOfTheRowsNamed) {
  for (const auto& [begin, end] : {std::pair{300, 1300}, {0, 1299}, {299, 1600}}) {
    for (const std::int64_t head_dim : {40, 64, 128}) {
      for (const std::int64_t dilation_rate : {1, 3}) {
        expect_nothing_read_outside({.tokens = 1600, .begin = begin, .end = end, .dilation_rate = dilation_rate, .head_dim = head_dim},
                                    ElementType::kBfloat16);
      }
    }
  }
}

TEST_F(CudaAttention, RefusesWithOneLineThatNamesTheTensor) {
  const Shape shape{.batch = 1, .tokens = 16, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern(dense_specification(16), shape);
  AttentionCase c = make_case(pattern, ElementType::kFloat32, 9);
  c.shape.head_dim = 16;

  try {
    run_in_calls(c, 16);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_STREQ(error.what(), "tensor q is [1, 1, 16, 16] of float32, but must be [1, 1, 16, 8] of float32");
  }
}

TEST_F(CudaAttention, RefusesATensorOffItsAlignment) {
  const Shape shape{.batch = 1, .tokens = 16, .heads = 1, .kv_heads = 1, .head_dim = 8};
  const Pattern pattern(dense_specification(16), shape);
  const Stream stream;
  const auto attention = make_cuda_attention(stream.get(), nullptr);
  const Buffer memory = make_device_buffer(4096, nullptr);
  const ConstTensor q{memory.data() + 2, ElementType::kFloat16, 1, 1, 16, 8};
  const Tensor state{memory.data(), ElementType::kFloat32, 1, 1, 16, 1};
  const Tensor o{memory.data(), ElementType::kFloat32, 1, 1, 16, 8};

  try {
    attention->forward(pattern, {.q = q, .k = q, .v = q, .times = {}, .scale = 1, .row_max = state, .row_sum = state, .o = o}, ring_pairs(16, 16));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_STREQ(error.what(), "tensor q begins 2 bytes behind a multiple of 16, but the GPU's kernels need it at one");
  }
}

using CudaDevice = GpuTest;

TEST_F(CudaDevice, RefusesAnIndexThatIsNotThere) {
  try {
    use_cuda_device(1000);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFailure);
    EXPECT_NE(std::string(error.what()).find("CUDA: GPU 1000 was asked for, but this process sees "), std::string::npos) << error.what();
  }
}

TEST_F(CudaDevice, RefusesMoreMemoryThanThereIsWithTheFigures) {
  constexpr std::int64_t kTooMany = std::int64_t{1} << 50;

  for (const auto& ask : {+[] { make_device_buffer(kTooMany, nullptr); }, +[] { require_device_memory(kTooMany, "the shards"); }}) {
    try {
      ask();
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFailure);
      EXPECT_NE(std::string(error.what()).find("1048576.0 GiB"), std::string::npos) << error.what();
    }
  }
  check(cudaGetLastError());
}

TEST_F(CudaDevice, BuffersReportToTheMeter) {
  const auto meter = std::make_shared<MemoryMeter>();
  {
    Buffer device = make_device_buffer(1000, meter);
    const Buffer pinned = make_pinned_buffer(24, meter);
    const Buffer moved = std::move(device);
    EXPECT_EQ(meter->current_bytes(), 1024);
    EXPECT_EQ(moved.size_bytes(), 1000);
  }

  EXPECT_EQ(meter->current_bytes(), 0);
  EXPECT_EQ(meter->peak_bytes(), 1024);
}

TEST(CudaDeviceWithoutGpu, RefusesInOneLine) {
  if (num_cuda_devices() > 0) GTEST_SKIP() << "there is a GPU";

  try {
    use_cuda_device(0);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFailure);
    EXPECT_EQ(std::string(error.what()).rfind("CUDA: no GPU can be used here", 0), 0U) << error.what();
  }
}

}  // namespace
}  // namespace hilbertring

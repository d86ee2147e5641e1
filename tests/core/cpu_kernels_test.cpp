// The inner kernels alone, on every instruction set of the machine.
#include "core/cpu/cpu_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/cpu/cpu_attention.h"
#include "core/cpu/cpu_finish.h"
#include "core/random.h"

namespace hilbertring {
namespace {

/// Values in memory aligned as the kernels ask.
template <class Real>
class Aligned {
 public:
  explicit Aligned(std::int64_t count, Real value = 0) : buffer_(count * static_cast<std::int64_t>(sizeof(Real)), nullptr), count_(count) {
    std::fill(begin(), begin() + count_, value);
  }
  Real* begin() { return reinterpret_cast<Real*>(buffer_.data()); }
  Real& operator[](std::int64_t i) { return begin()[i]; }

 private:
  Buffer buffer_;
  std::int64_t count_;
};

template <class Real>
Real draw(std::uint64_t stream, std::int64_t i) {
  return static_cast<Real>(normal_at(stream, TensorId::kQ, i));
}

class CpuKernels : public testing::TestWithParam<std::string> {
 protected:
  CpuKernels() { force_cpu_instruction_set(GetParam()); }
  ~CpuKernels() override { force_cpu_instruction_set(""); }
};

/// Sizes of a product; A is read transposed if asked.
struct Sizes {
  std::int64_t m, n, k;
  bool transposed;
};

template <class Real>
void expect_product(const Sizes& s) {
  const std::int64_t stride = packed_stride(s.n);
  Aligned<Real> a(s.m * s.k), b(s.k * stride), c(s.m * s.n + 16), rescale(s.m);
  for (std::int64_t i = 0; i < s.m * s.k; ++i) a[i] = draw<Real>(1, i);
  for (std::int64_t i = 0; i < s.k * s.n; ++i) b[i / s.n * stride + i % s.n] = draw<Real>(2, i);
  for (std::int64_t i = 0; i < s.m * s.n; ++i) c[i] = draw<Real>(3, i);
  for (std::int64_t i = 0; i < s.m; ++i) rescale[i] = draw<Real>(4, i);
  const auto a_at = [&](std::int64_t i, std::int64_t k) { return a[s.transposed ? k * s.m + i : i * s.k + k]; };
  std::vector<Real> expected;
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      Real sum = c[i * s.n + j] * rescale[i];
      for (std::int64_t k = 0; k < s.k; ++k) sum = std::fma(a_at(i, k), b[k * stride + j], sum);
      expected.push_back(sum);
    }
  }

  multiply(Product<Real>{.num_rows = s.m,
                         .num_columns = s.n,
                         .num_inner = s.k,
                         .a = a.begin(),
                         .a_row_stride = s.transposed ? 1 : s.k,
                         .a_inner_stride = s.transposed ? s.m : 1,
                         .b = b.begin(),
                         .b_stride = stride,
                         .c = c.begin(),
                         .c_stride = s.n,
                         .accumulate = true,
                         .rescale = rescale.begin()});

  for (std::int64_t i = 0; i < s.m * s.n; ++i)
    ASSERT_EQ(c[i], expected[static_cast<std::size_t>(i)]) << s.m << " " << s.n << " " << s.k << " at " << i;
  for (std::int64_t i = s.m * s.n; i < s.m * s.n + 16; ++i) ASSERT_EQ(c[i], 0) << "written beyond the end";
}

TEST_P(CpuKernels, ProductIsOneChainOfFusedMultiplyAddsPerElement) {
  for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 13, 23}) {
    for (const std::int64_t n : {8, 16, 24, 32, 40, 48, 56, 64, 72, 128, 136}) {
      expect_product<float>({m, n, 19, false});
      expect_product<float>({m, n, 7, true});
      expect_product<double>({m, n, 19, false});
    }
  }
}

template <class Real>
void expect_packed(ElementType type) {
  constexpr std::int64_t kRows = 37, kColumns = 24, kStride = 3;
  std::vector<std::byte> source(static_cast<std::size_t>(kRows * kStride * kColumns * size_bytes(type)));
  for (std::int64_t i = 0; i < kRows * kStride * kColumns; ++i) store_element(source.data(), type, i, draw<double>(5, i));
  const SourceRows rows{source.data(), kStride * kColumns * size_bytes(type), type, kRows, kColumns};
  const std::int64_t row_stride = packed_stride(kColumns), transposed_stride = packed_stride(kRows);
  Aligned<Real> packed(kRows * row_stride, 9), transposed(kColumns * transposed_stride, 9);

  pack_rows(rows, packed.begin());
  pack_transposed(rows, Real{2}, transposed.begin(), transposed_stride);

  for (std::int64_t i = 0; i < round_up(kRows, kColumnBlock); ++i) {
    for (std::int64_t c = 0; c < round_up(kColumns, kColumnBlock); ++c) {
      const double value = i < kRows && c < kColumns ? load_element(source.data(), type, i * kStride * kColumns + c) : 0;
      if (i < kRows) {
        ASSERT_EQ(packed[i * row_stride + c], value) << i << " " << c;
      }
      if (c < kColumns) {
        ASSERT_EQ(transposed[c * transposed_stride + i], 2 * value) << i << " " << c;
      }
    }
  }
}

TEST_P(CpuKernels, PacksEveryTypeAndPadsWithZeros) {
  expect_packed<float>(ElementType::kFloat16);
  expect_packed<float>(ElementType::kBfloat16);
  expect_packed<float>(ElementType::kFloat32);
  expect_packed<double>(ElementType::kFloat64);
}

/// exp2 by the kernels: with lse2 = 0 the gradient's probabilities are exp2 of the scores.
template <class Real>
std::vector<Real> exp2_by_kernels(const std::vector<Real>& x) {
  const std::int64_t count = round_up(std::ssize(x), kColumnBlock);
  Aligned<Real> scores(count), d_scores(count);
  std::copy(x.begin(), x.end(), scores.begin());
  const Real zero = 0;
  differentiate_softmax(SoftmaxGradient<Real>{.scores = scores.begin(),
                                              .d_scores = d_scores.begin(),
                                              .stride = count,
                                              .num_queries = 1,
                                              .num_keys = count,
                                              .lse2 = &zero,
                                              .delta = &zero,
                                              .state_stride = 1,
                                              .scale = 1});
  return {scores.begin(), scores.begin() + x.size()};
}

template <class Real>
void expect_exp2_within(double bound, double lowest) {
  std::vector<Real> x;
  for (int i = 0; i <= 200000; ++i) x.push_back(static_cast<Real>(lowest * i / 200000));
  for (int i = 0; i <= 10000; ++i) x.push_back(static_cast<Real>(-1e-4 * i));

  const std::vector<Real> y = exp2_by_kernels(x);

  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = static_cast<double>(std::exp2(static_cast<long double>(x[i])));
    ASSERT_FALSE(!(std::abs(static_cast<double>(y[i]) - exact) <= bound * exact)) << x[i] << " gives " << y[i];
  }
}

TEST_P(CpuKernels, Exp2IsAsAccurateAsItSays) {
  expect_exp2_within<float>(1.2e-7, -126);
  expect_exp2_within<double>(3e-16, -1022);
}

template <class Real>
void expect_exp2_corners() {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  const std::vector<Real> y =
      exp2_by_kernels<Real>({0, -1, -10, -kInfinity, std::numeric_limits<Real>::lowest(), -2000, 1, std::numeric_limits<Real>::quiet_NaN()});

  EXPECT_EQ(std::vector<Real>(y.begin(), y.end() - 1), (std::vector<Real>{1, Real(0.5), Real(0x1p-10), 0, 0, 0, 2}));
  EXPECT_TRUE(std::isnan(y.back()));
}

TEST_P(CpuKernels, Exp2IsExactAtWholeNumbersAndZeroFarBelow) {
  expect_exp2_corners<float>();
  expect_exp2_corners<double>();
}

template <class Real>
void expect_masked() {
  constexpr std::int64_t kQueries = 5, kKeys = 21, kStride = 48;
  Aligned<Real> scores(kQueries * kStride, 1);
  Aligned<MaskTime<Real>> query_times(kQueries), key_times(32, std::numeric_limits<MaskTime<Real>>::max());
  for (std::int64_t i = 0; i < kQueries; ++i) query_times[i] = static_cast<MaskTime<Real>>(7 * i % 5);
  for (std::int64_t j = 0; j < kKeys; ++j) key_times[j] = static_cast<MaskTime<Real>>(5 * j % 9);

  const std::int64_t count = mask_causal(CausalMask<Real>{scores.begin(), kStride, kQueries, kKeys, query_times.begin(), key_times.begin()});

  std::int64_t expected = 0;
  for (std::int64_t i = 0; i < kQueries; ++i) {
    for (std::int64_t j = 0; j < kKeys; ++j) {
      const bool allowed = key_times[j] <= query_times[i];
      expected += allowed ? 1 : 0;
      EXPECT_EQ(scores[i * kStride + j], allowed ? Real{1} : -std::numeric_limits<Real>::infinity()) << i << " " << j;
    }
  }
  EXPECT_EQ(count, expected);
}

TEST_P(CpuKernels, MaskForbidsLaterKeysAndCountsTheRest) {
  expect_masked<float>();
  expect_masked<double>();
}

INSTANTIATE_TEST_SUITE_P(Sets, CpuKernels, testing::ValuesIn(cpu_instruction_sets()), [](const auto& param) { return param.param; });

TEST(Log2, IsAccurateAndExactAtPowersOfTwo) {
  for (int e = -1022; e <= 1023; ++e) ASSERT_EQ(log2_of(std::ldexp(1.0, e)), e);
  for (int i = 1; i < 200000; ++i) {
    const double x = i * 0.37 / (1 + i % 1000);
    const long double exact = std::log2(static_cast<long double>(x));
    ASSERT_LE(std::abs(log2_of(x) - exact), 4e-16L * std::max(1.0L, std::abs(exact))) << x;
  }
}

}  // namespace
}  // namespace hilbertring

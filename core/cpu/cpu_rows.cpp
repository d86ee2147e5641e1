#include <algorithm>
#include <array>
#include <limits>

#include "core/cpu/cpu_kernels.h"
#include "core/cpu/cpu_targets.h"

// Highway compiles this file once per instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/cpu_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cpu_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace hilbertring::HWY_NAMESPACE {

/// Constants of exp2 for Real. The polynomial interpolates (2^f - 1) / f at Chebyshev nodes of [-1/2, 1/2], so that 2^0 is exactly 1.
template <class Real>
struct Exp2Constants;

template <>
struct Exp2Constants<float> {
  static constexpr int kMantissaBits = 23;
  static constexpr float kLeastExponent = -126;
  /// x + kShifter has round(x) + 127 in its low bits: the exponent field of 2^round(x).
  static constexpr float kShifter = 0x1.8p23F + 127;
  static constexpr std::array<float, 7> kPolynomial = {
      1.0F, 0.6931471880262288F, 0.24022650760568126F, 0.05550357114219078F, 0.009618082557277852F, 0.0013390863364671234F, 0.0001545316294512069F};
};

template <>
struct Exp2Constants<double> {
  static constexpr int kMantissaBits = 52;
  static constexpr double kLeastExponent = -1022;
  static constexpr double kShifter = 0x1.8p52 + 1023;
  static constexpr std::array<double, 12> kPolynomial = {1.0,
                                                         0x1.62e42fefa39efp-1,
                                                         0x1.ebfbdff82c598p-3,
                                                         0x1.c6b08d704a0c2p-5,
                                                         0x1.3b2ab6fba1ddap-7,
                                                         0x1.5d87fe78a5276p-10,
                                                         0x1.430913096fd9fp-13,
                                                         0x1.ffcbfc670dcd4p-17,
                                                         0x1.62bfd47773353p-20,
                                                         0x1.b524fae6277aep-24,
                                                         0x1.e6063f7217bc6p-28,
                                                         0x1.e9d3fe395e3d8p-32};
};

/// 2^x for x below 128 (1024): 2^round(x) * polynomial(x - round(x)); 0 below the least normal number, NaN for NaN.
template <class Real>
HWY_INLINE Vector<Real> exp2_of(Vector<Real> x) {
  using Constants = Exp2Constants<Real>;
  const Lanes<Real> d;
  const hn::RebindToSigned<Lanes<Real>> d_int;
  const auto shifter = hn::Set(d, Constants::kShifter);
  const auto shifted = hn::Add(x, shifter);
  const auto fraction = hn::Sub(x, hn::Sub(shifted, shifter));
  constexpr auto& kPolynomial = Constants::kPolynomial;
  auto value = hn::Set(d, kPolynomial.back());
#pragma GCC unroll 16
  for (std::size_t i = kPolynomial.size() - 1; i > 0; --i) value = fused_multiply_add(value, fraction, hn::Set(d, kPolynomial[i - 1]));
  const auto power = hn::BitCast(d, hn::ShiftLeft<Constants::kMantissaBits>(hn::BitCast(d_int, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, Constants::kLeastExponent)), hn::Mul(value, power));
}

/// Vectors that make up the kRowLanes partial results of a row.
template <class Real>
constexpr std::int64_t kGroup = kRowLanes / num_lanes<Real>();

/// Joins the partial results in halves: lane i with lane i + 8, then with i + 4, ...
template <class Real, class Join>
HWY_INLINE Real join_lanes(const Vector<Real> (&partial)[kGroup<Real>], Join join) {
  const Lanes<Real> d;
  alignas(64) std::array<Real, static_cast<std::size_t>(kRowLanes)> lanes;
  for (std::int64_t g = 0; g < kGroup<Real>; ++g) hn::Store(partial[g], d, lanes.data() + g * num_lanes<Real>());
#pragma GCC unroll 4
  for (std::size_t width = kRowLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] = join(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}

/// NaN is never the larger one, on any machine (the max instructions differ there); it comes back through exp2.
template <class Real>
HWY_INLINE Real row_maximum(const Real* scores, std::int64_t num_columns) {
  const Lanes<Real> d;
  Vector<Real> best[kGroup<Real>];
  for (auto& lanes : best) lanes = hn::Set(d, -std::numeric_limits<Real>::infinity());
  for (std::int64_t column = 0; column < num_columns; column += kRowLanes) {
    for (std::int64_t g = 0; g < kGroup<Real>; ++g) {
      const auto score = hn::Load(d, scores + column + g * num_lanes<Real>());
      best[g] = hn::IfThenElse(hn::Lt(best[g], score), score, best[g]);
    }
  }
  return join_lanes<Real>(best, [](Real a, Real b) { return a < b ? b : a; });
}

/// scores <- exp2(scores - shift); returns their sum.
template <class Real>
HWY_INLINE Real exponentiate_row(Real* scores, std::int64_t num_columns, Real shift) {
  const Lanes<Real> d;
  const auto shift_lanes = hn::Set(d, shift);
  Vector<Real> sum[kGroup<Real>];
  for (auto& lanes : sum) lanes = hn::Zero(d);
  for (std::int64_t column = 0; column < num_columns; column += kRowLanes) {
    for (std::int64_t g = 0; g < kGroup<Real>; ++g) {
      Real* at = scores + column + g * num_lanes<Real>();
      const auto probability = exp2_of<Real>(hn::Sub(hn::Load(d, at), shift_lanes));
      hn::Store(probability, d, at);
      sum[g] = hn::Add(sum[g], probability);
    }
  }
  return join_lanes<Real>(sum, [](Real a, Real b) { return a + b; });
}

/// kRowLanes rows (or the last few): maxima, then factors for all of them at once, then probabilities.
template <class Real>
HWY_INLINE void fold_softmax_rows(const SoftmaxFold<Real>& fold, std::int64_t first, std::int64_t count) {
  constexpr Real kMinusInfinity = -std::numeric_limits<Real>::infinity();
  const std::int64_t num_columns = round_up(fold.num_keys, kColumnBlock);
  std::array<Real, static_cast<std::size_t>(kRowLanes)> shift{};
  Real* rescale = fold.rescale + first;
  for (std::int64_t i = 0; i < kRowLanes; ++i) rescale[i] = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    Real* scores = fold.scores + (first + i) * fold.stride;
    for (std::int64_t j = fold.num_keys; j < num_columns; ++j) scores[j] = kMinusInfinity;
    Real& row_max = fold.row_max[(first + i) * fold.state_stride];
    const Real tile_max = row_maximum(scores, num_columns);
    const Real old_max = row_max;
    if (old_max < tile_max) row_max = tile_max;
    // Nothing allowed so far: -inf - 0 gives zeros where -inf - -inf would give NaN.
    shift[static_cast<std::size_t>(i)] = row_max == kMinusInfinity ? 0 : row_max;
    rescale[i] = old_max - shift[static_cast<std::size_t>(i)];
  }
  const Lanes<Real> d;
  for (std::int64_t i = 0; i < kRowLanes; i += num_lanes<Real>()) hn::Store(exp2_of<Real>(hn::Load(d, rescale + i)), d, rescale + i);
  for (std::int64_t i = 0; i < count; ++i) {
    const Real sum = exponentiate_row(fold.scores + (first + i) * fold.stride, num_columns, shift[static_cast<std::size_t>(i)]);
    Real& row_sum = fold.row_sum[(first + i) * fold.state_stride];
    row_sum = hn::GetLane(fused_multiply_add(hn::Set(d, row_sum), hn::Set(d, rescale[i]), hn::Set(d, sum)));
  }
}

template <class Real>
HWY_INLINE void fold_softmax_real(const SoftmaxFold<Real>& fold) {
  for (std::int64_t first = 0; first < fold.num_queries; first += kRowLanes) {
    fold_softmax_rows(fold, first, std::min(kRowLanes, fold.num_queries - first));
  }
}

template <class Real>
HWY_INLINE void differentiate_softmax_real(const SoftmaxGradient<Real>& gradient) {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  const Lanes<Real> d;
  for (std::int64_t i = 0; i < gradient.num_queries; ++i) {
    const Real lse2 = gradient.lse2[i * gradient.state_stride];
    // An empty row has no probabilities: its scores are all -inf, and so must the exponents be.
    const auto shift = hn::Set(d, lse2 == -kInfinity ? kInfinity : lse2);
    const auto delta = hn::Set(d, gradient.delta[i * gradient.state_stride] * gradient.scale);
    Real* scores = gradient.scores + i * gradient.stride;
    Real* d_scores = gradient.d_scores + i * gradient.stride;
    for (std::int64_t j = 0; j < gradient.num_keys; j += num_lanes<Real>()) {
      const auto probability = exp2_of<Real>(hn::Sub(hn::Load(d, scores + j), shift));
      hn::Store(probability, d, scores + j);
      hn::Store(hn::Mul(probability, hn::Sub(hn::Load(d, d_scores + j), delta)), d, d_scores + j);
    }
  }
}

template <class Real>
HWY_INLINE std::int64_t mask_causal_real(const CausalMask<Real>& mask) {
  const Lanes<Real> d;
  const hn::RebindToSigned<Lanes<Real>> d_int;
  const auto minus_infinity = hn::Set(d, -std::numeric_limits<Real>::infinity());
  const std::int64_t num_columns = round_up(mask.num_keys, kColumnBlock);
  std::int64_t num_masked = 0;
  for (std::int64_t i = 0; i < mask.num_queries; ++i) {
    const auto query_time = hn::Set(d_int, mask.query_times[i]);
    for (std::int64_t j = 0; j < num_columns; j += num_lanes<Real>()) {
      Real* scores = mask.scores + i * mask.stride + j;
      const auto is_later = hn::RebindMask(d, hn::Gt(hn::Load(d_int, mask.key_times + j), query_time));
      hn::Store(hn::IfThenElse(is_later, minus_infinity, hn::Load(d, scores)), d, scores);
      num_masked += static_cast<std::int64_t>(hn::CountTrue(d, is_later));
    }
  }
  return mask.num_queries * num_columns - num_masked;
}

// Highway exports functions, not templates.
void fold_softmax_float(const SoftmaxFold<float>& fold) { fold_softmax_real(fold); }
void fold_softmax_double(const SoftmaxFold<double>& fold) { fold_softmax_real(fold); }
void differentiate_softmax_float(const SoftmaxGradient<float>& gradient) { differentiate_softmax_real(gradient); }
void differentiate_softmax_double(const SoftmaxGradient<double>& gradient) { differentiate_softmax_real(gradient); }
std::int64_t mask_causal_float(const CausalMask<float>& mask) { return mask_causal_real(mask); }
std::int64_t mask_causal_double(const CausalMask<double>& mask) { return mask_causal_real(mask); }

}  // namespace hilbertring::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hilbertring {

namespace {
HWY_EXPORT(fold_softmax_float);
HWY_EXPORT(fold_softmax_double);
HWY_EXPORT(differentiate_softmax_float);
HWY_EXPORT(differentiate_softmax_double);
HWY_EXPORT(mask_causal_float);
HWY_EXPORT(mask_causal_double);
}  // namespace

void fold_softmax(const SoftmaxFold<float>& fold) { HWY_DYNAMIC_DISPATCH(fold_softmax_float)(fold); }
void fold_softmax(const SoftmaxFold<double>& fold) { HWY_DYNAMIC_DISPATCH(fold_softmax_double)(fold); }
void differentiate_softmax(const SoftmaxGradient<float>& gradient) { HWY_DYNAMIC_DISPATCH(differentiate_softmax_float)(gradient); }
void differentiate_softmax(const SoftmaxGradient<double>& gradient) { HWY_DYNAMIC_DISPATCH(differentiate_softmax_double)(gradient); }
std::int64_t mask_causal(const CausalMask<float>& mask) { return HWY_DYNAMIC_DISPATCH(mask_causal_float)(mask); }
std::int64_t mask_causal(const CausalMask<double>& mask) { return HWY_DYNAMIC_DISPATCH(mask_causal_double)(mask); }

}  // namespace hilbertring
#endif

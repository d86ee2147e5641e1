#pragma once

#include <cmath>
#include <cstdint>

#include "core/cuda/hopper_consumer.cuh"

// One step of the running softmax in the registers of a warpgroup: 64 queries by kHopperKeys keys, two rows a thread.
namespace hilbertring {

/// Keys that are folded at a time.
inline constexpr int kHopperKeys = 128;

using HopperScores = float[kHopperKeys / 8][4];
using HopperProbabilities = std::uint32_t[kHopperKeys / 16][4];

/// Elements of forbidden pairs become -infinity. Returns how many of the thread's are allowed.
__device__ __forceinline__ unsigned mask_scores(HopperScores& scores, const Consumer& me, const TileMask<Owner::kQueries>& mask) {
  static_assert(kHopperKeys / 4 == 32);
  unsigned num_allowed = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::uint32_t allowed = allowed_columns<kHopperKeys>(me, mask, me.first_row + 8 * half);
    num_allowed += static_cast<unsigned>(__popc(allowed));
#pragma unroll
    for (int i = 0; i < kHopperKeys / 4; ++i) {
      float& element = scores[i / 2][2 * half + i % 2];
      element = (allowed >> i & 1U) != 0 ? element : -INFINITY;
    }
  }
  return num_allowed;
}

/// The bits of the largest of the thread's 32 scores of a row: as integers, which the hardware takes three at a time, they are ordered like floats,
/// but negative numbers the other way round. So as signed ones, unless all are negative; as unsigned ones and the smallest, if all are.
template <int kHalf, class Choose>
__device__ __forceinline__ int chosen_bits(const HopperScores& scores, Choose&& choose) {
  const auto bits = [&](int i) { return __float_as_int(scores[i / 2][2 * kHalf + i % 2]); };
  int chosen[4];
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    chosen[part] = choose(bits(8 * part), bits(8 * part + 1), bits(8 * part + 2));
    chosen[part] = choose(chosen[part], bits(8 * part + 3), bits(8 * part + 4));
    chosen[part] = choose(chosen[part], bits(8 * part + 5), bits(8 * part + 6));
  }
  chosen[0] = choose(chosen[0], bits(7), chosen[1]);
  chosen[2] = choose(chosen[2], bits(15), chosen[3]);
  chosen[0] = choose(chosen[0], bits(23), bits(31));
  chosen[0] = choose(chosen[0], chosen[2], chosen[2]);
  // The lanes that share the row.
#pragma unroll
  for (int lane = 1; lane <= 2; lane *= 2) {
    const int other = __shfl_xor_sync(0xffffffffU, chosen[0], lane);
    chosen[0] = choose(chosen[0], other, other);
  }
  return chosen[0];
}
template <int kHalf>
__device__ __forceinline__ int largest_bits(const HopperScores& scores) {
  return chosen_bits<kHalf>(scores, [](int a, int b, int c) { return __vimax3_s32(a, b, c); });
}
template <int kHalf>
__device__ __forceinline__ int largest_bits_of_negative(const HopperScores& scores) {
  return chosen_bits<kHalf>(scores, [](int a, int b, int c) {
    return static_cast<int>(__vimin3_u32(static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<unsigned>(c)));
  });
}

/// A running softmax of the thread's two rows. A step is folded in parts, so that each can be done when there is time for it. `max` may lag behind
/// the largest score, by at most kSlack (in log2 units): probabilities of up to 2^kSlack lose nothing, and what was summed up needs no new factor.
struct HopperSoftmax {
  static constexpr float kSlack = 8.0F;

  float max[2], sum[2];
  float rescale[2];          ///< 2^(max before - max): factor of what was summed up before
  float sums_of_step[2][4];  ///< of the thread's columns

  /// What a row's scores have subtracted. A row that has seen no key yet keeps its zeros; infinity minus infinity would make them NaN.
  __device__ __forceinline__ static float shift_of(float max) { return max == -INFINITY ? 0.0F : max; }

  /// Raises a row's `max` to the largest of its scores where one lies more than kSlack above it. Returns whether one of the warp's has risen, which
  /// after a tile's first step is rare: else all factors are 1. Each row decides by itself: bits do not depend on its neighbours.
  __device__ __forceinline__ bool raise_max(const HopperScores& scores, float factor) {
    int bits[2] = {largest_bits<0>(scores), largest_bits<1>(scores)};
    const auto rises = [&](int half) { return __fmul_rn(__int_as_float(bits[half]), factor) > __fadd_rn(max[half], kSlack); };
    // Of negative scores alone the bits tell the smallest; what matters is whether the largest may lie above max + kSlack.
    const auto needs_second_look = [&](int half) { return (bits[half] < 0) & (max[half] < -kSlack); };
    rescale[0] = rescale[1] = 1.0F;
    const auto both = [](auto&& asks) { return static_cast<int>(asks(0)) | static_cast<int>(asks(1)); };  // no branches
    const int needs_look = both(needs_second_look);
    if (!__any_sync(0xffffffffU, both(rises) | needs_look)) return false;
    if (__any_sync(0xffffffffU, needs_look)) {
      const int of_negative[2] = {largest_bits_of_negative<0>(scores), largest_bits_of_negative<1>(scores)};
#pragma unroll
      for (int half = 0; half < 2; ++half) bits[half] = bits[half] < 0 ? of_negative[half] : bits[half];
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float risen = rises(half) ? __fmul_rn(__int_as_float(bits[half]), factor) : max[half];
      rescale[half] = exp2_fast(__fsub_rn(max[half], shift_of(risen)));
      max[half] = risen;
    }
    return true;
  }

  /// Calls visit(n, probabilities of the thread's two columns in the n-th quad) for one of the rows and quads [kBegin, kEnd), and sums them up.
  /// Sums of four neighbours each keep the additions from waiting for one another; their order is one for all steps.
  template <int kHalf, int kBegin, int kEnd, class Visit>
  __device__ __forceinline__ void exponentiate(const HopperScores& scores, float factor, Visit&& visit) {
    const float shift = shift_of(max[kHalf]);
    float(&sums)[4] = sums_of_step[kHalf];
    if constexpr (kBegin == 0) sums[0] = sums[1] = sums[2] = sums[3] = 0.0F;
#pragma unroll
    for (int n = kBegin; n < kEnd; ++n) {
      float two[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        two[i] = exp2_fast(__fmaf_rn(scores[n][2 * kHalf + i], factor, -shift));
        sums[2 * (n % 2) + i] = __fadd_rn(sums[2 * (n % 2) + i], two[i]);
      }
      visit(n, two[0], two[1]);
    }
  }

  /// sum <- rescale * sum + sum of the step.
  __device__ __forceinline__ void add_step() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float(&sums)[4] = sums_of_step[half];
      const float sum_of_columns = __fadd_rn(__fadd_rn(sums[0], sums[1]), __fadd_rn(sums[2], sums[3]));
      sum[half] = __fmaf_rn(sum[half], rescale[half], sum_of_row(sum_of_columns));
    }
  }
};

/// O <- rescale * O. Left out by warps none of whose maxima has risen: after the first steps they seldom do.
template <int kQuads>
__device__ __forceinline__ void rescale_output(float (&o)[kQuads][4], const float (&rescale)[2]) {
#pragma unroll
  for (int i = 0; i < 4 * kQuads; ++i) o[i / 4][i % 4] = __fmul_rn(o[i / 4][i % 4], rescale[i % 4 / 2]);
}

}  // namespace hilbertring

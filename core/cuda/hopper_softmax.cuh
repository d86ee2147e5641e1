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

/// The largest of the thread's 32 scores of a row. Bits of floats compare like integers, and three at a time, unless all are negative.
template <int kHalf>
__device__ __forceinline__ int largest_bits(const HopperScores& scores) {
  const auto bits = [&](int i) { return __float_as_int(scores[i / 2][2 * kHalf + i % 2]); };
  int largest[4];
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    largest[part] = __vimax3_s32(bits(8 * part), bits(8 * part + 1), bits(8 * part + 2));
    largest[part] = __vimax3_s32(largest[part], bits(8 * part + 3), bits(8 * part + 4));
    largest[part] = __vimax3_s32(largest[part], bits(8 * part + 5), bits(8 * part + 6));
  }
  largest[0] = __vimax3_s32(largest[0], bits(7), largest[1]);
  largest[2] = __vimax3_s32(largest[2], bits(15), largest[3]);
  largest[0] = __vimax3_s32(largest[0], bits(23), bits(31));
  return max(largest[0], largest[2]);
}
__device__ __forceinline__ int largest_bits_of_row(int x) {
  x = max(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return max(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

/// The same for any scores.
template <int kHalf>
__device__ __forceinline__ float largest_float(const HopperScores& scores) {
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < kHopperKeys / 4; ++i) largest = fmaxf(largest, scores[i / 2][2 * kHalf + i % 2]);
  return largest;
}

/// The largest score of each of the thread's two rows.
__device__ __forceinline__ void find_largest(const HopperScores& scores, float (&largest)[2]) {
  const int bits[2] = {largest_bits_of_row(largest_bits<0>(scores)), largest_bits_of_row(largest_bits<1>(scores))};
  largest[0] = __int_as_float(bits[0]);
  largest[1] = __int_as_float(bits[1]);
  if (__any_sync(0xffffffffU, (bits[0] | bits[1]) < 0)) [[unlikely]] {
    largest[0] = max_of_row(largest_float<0>(scores));
    largest[1] = max_of_row(largest_float<1>(scores));
  }
}

/// max <- max(max, scores), p = exp2(scores - max), sum <- rescale * sum + sum of p. Returns rescale = exp2(old max - max), O's factor, in `rescale`.
/// Sums of four neighbours each keep the additions from waiting for one another; their order is one for all steps.
__device__ __forceinline__ void fold_scores(HopperScores& scores, float factor, float (&max)[2], float (&sum)[2], float (&rescale)[2]) {
  constexpr int kQuads = kHopperKeys / 8;
  float largest[2];
  find_largest(scores, largest);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float new_max = fmaxf(max[half], __fmul_rn(largest[half], factor));
    // A row that has seen no key yet keeps its zeros; infinity minus infinity would make them NaN.
    const float shift = new_max == -INFINITY ? 0.0F : new_max;
    rescale[half] = exp2_fast(__fsub_rn(max[half], shift));
    max[half] = new_max;
    float sums[4] = {0.0F, 0.0F, 0.0F, 0.0F};
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& element = scores[n][2 * half + i];
        element = exp2_fast(__fmaf_rn(element, factor, -shift));
        sums[2 * (n % 2) + i] = __fadd_rn(sums[2 * (n % 2) + i], element);
      }
    }
    const float sum_of_step = sum_of_row(__fadd_rn(__fadd_rn(sums[0], sums[1]), __fadd_rn(sums[2], sums[3])));
    sum[half] = __fmaf_rn(sum[half], rescale[half], sum_of_step);
  }
}

/// O <- rescale * O, left out by warps whose rows all have a factor of 1, which changes no bit: after the first steps maxima seldom rise.
template <int kQuads>
__device__ __forceinline__ void rescale_output(float (&o)[kQuads][4], const float (&rescale)[2]) {
  if (!__any_sync(0xffffffffU, rescale[0] != 1.0F || rescale[1] != 1.0F)) return;
#pragma unroll
  for (int i = 0; i < 4 * kQuads; ++i) o[i / 4][i % 4] = __fmul_rn(o[i / 4][i % 4], rescale[i % 4 / 2]);
}

/// The left factor of the product with V.
template <class Stored>
__device__ __forceinline__ void round_probabilities(const HopperScores& scores, HopperProbabilities& probabilities) {
#pragma unroll
  for (int k = 0; k < kHopperKeys / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      probabilities[k][i] = round_pair<Stored>(scores[2 * k + i / 2][2 * (i % 2)], scores[2 * k + i / 2][2 * (i % 2) + 1]);
    }
  }
}

}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/block_attention.h"

namespace hilbertring {

/// One attention problem on one shard that holds everything, rows in the order of positions: what the kernels' tests work on.
struct AttentionCase {
  Shape shape;
  ElementType type = ElementType::kFloat32;
  const Pattern* pattern = nullptr;
  double scale = 1.0;
  std::vector<std::int64_t> query_times, key_times;  ///< [N], position -> sequence index
  std::vector<std::byte> q, k, v, d_o;               ///< [B, H or G, N, D] of `type`
};

/// Standard normal inputs; sequence times are two permutations drawn from the seed.
AttentionCase make_case(const Pattern& pattern, ElementType type, std::uint64_t seed);

/// Element (batch, head, row, column) of one of the case's tensors, and its replacement.
double element(const AttentionCase& c, const std::vector<std::byte>& tensor, std::int64_t index);
void set_element(const AttentionCase& c, std::vector<std::byte>& tensor, std::int64_t index, double value);

/// What the kernels leave, as raw bytes of Real.
struct KernelResult {
  std::int64_t num_pairs = 0;
  std::vector<std::byte> o, lse2, row_sum, delta, dq, dk, dv;

  friend bool operator==(const KernelResult&, const KernelResult&) = default;
};

/// Pairs in the order of the fold law: query chunk u meets u, u - 1, ..., 0, last, ..., u + 1. Diagonal by diagonal.
std::vector<ChunkPair> ring_pairs(std::int64_t num_tokens, std::int64_t chunk);

/// Forward and backward over the pairs, handed over in calls of at most `pairs_per_call`.
KernelResult run_kernels(const AttentionCase& c, BlockAttention& attention, const std::vector<ChunkPair>& pairs, std::size_t pairs_per_call);

/// A result with, per element, the sum of the absolute values of its terms.
struct DenseTensor {
  std::vector<double> value, magnitude;
};
struct DenseResult {
  std::int64_t num_pairs = 0;
  double max_abs_score = 0;  ///< largest scale * sum |q k|
  std::vector<double> lse2;  ///< [B, H, N]
  DenseTensor o, dq, dk, dv;
};

/// The closed form of SPEC.md section 4 by plain loops over all pairs in Accumulator (double: the truth; float: a plain float implementation), asking
/// `Branch::allows` pair by pair.
template <class Accumulator>
DenseResult evaluate_densely(const AttentionCase& c);
extern template DenseResult evaluate_densely<double>(const AttentionCase&);
extern template DenseResult evaluate_densely<float>(const AttentionCase&);

/// Empty if every element lies within its bound, else which one is worst: `unit` is the roundoff of the arithmetic.
std::string find_misses(const AttentionCase& c, const KernelResult& result, const DenseResult& truth, double unit);

/// Largest |value - truth| over a tensor of Real.
double max_error(const AttentionCase& c, const std::vector<std::byte>& result, const std::vector<double>& truth);

}  // namespace hilbertring

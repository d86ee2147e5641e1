#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "core/element_type.h"
#include "core/index.h"

namespace hilbertring {

/// Inner kernels of the CPU: each call works on one tile in a thread's own memory and is dispatched to the best instruction set at run time.
///
/// The bits are the same for every instruction set: lanes hold independent elements, every sum of products is one chain of fused multiply-adds in
/// ascending order, and sums along a row use `kRowLanes` partial sums joined by a fixed tree, however wide a vector is. exp2 is a polynomial
/// (float: 1 ulp; double: 3e-16 relative) that is 0 below 2^-126 (2^-1022).
/// Real: float or double. Strides count elements.

/// Rows of a tile at most; enough that a packed tile of keys pays, few enough that a tile of scores stays in the second-level cache.
inline constexpr std::int64_t kTileQueries = 96;
inline constexpr std::int64_t kTileKeys = 128;
/// Query rows that the innermost kernel takes at once: tiles are multiples of it where they can be.
inline constexpr std::int64_t kRowBlock = 6;
/// Packed matrices are padded with zeros to this many columns: the widest vector of floats.
inline constexpr std::int64_t kColumnBlock = 16;
inline constexpr std::int64_t kRowLanes = 16;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return ceil_div(n, multiple) * multiple; }
/// Distance of the rows of a packed matrix: one cache line more than needed, because rows at powers of two would share few cache sets.
constexpr std::int64_t packed_stride(std::int64_t num_columns) { return round_up(num_columns, kColumnBlock) + kColumnBlock; }

/// C (+)= A B. A: [num_rows, num_inner], element (i, k) at a[i * a_row_stride + k * a_inner_stride], so that transposes need no copy.
/// B: [num_inner, num_columns], rows padded with zeros to a multiple of kColumnBlock and aligned to 64 bytes. C: [num_rows, num_columns], unaligned.
template <class Real>
struct Product {
  std::int64_t num_rows, num_columns, num_inner;
  const Real* a;
  std::int64_t a_row_stride, a_inner_stride;
  const Real* b;
  std::int64_t b_stride;
  Real* c;
  std::int64_t c_stride;
  bool accumulate = false;        ///< else C is overwritten
  const Real* rescale = nullptr;  ///< [num_rows], with `accumulate`: C is multiplied by it first
};
void multiply(const Product<float>& product);
void multiply(const Product<double>& product);

/// Rows of a tensor that become a packed matrix of Real: row i at first + i * stride_bytes, num_columns elements of `type`.
struct SourceRows {
  const std::byte* first;
  std::int64_t stride_bytes;
  ElementType type;
  std::int64_t num_rows, num_columns;
};
/// packed[i, c] = row i, column c; columns padded with zeros to a multiple of kColumnBlock. packed: [num_rows, packed_stride(num_columns)].
void pack_rows(const SourceRows& rows, float* packed);
void pack_rows(const SourceRows& rows, double* packed);
/// packed[c, i] = factor * row i, column c; rows of `packed` padded with zeros likewise. packed: [num_columns, stride].
void pack_transposed(const SourceRows& rows, float factor, float* packed, std::int64_t stride);
void pack_transposed(const SourceRows& rows, double factor, double* packed, std::int64_t stride);

/// Times as the mask compares them: lanes as wide as Real's.
template <class Real>
using MaskTime = std::conditional_t<sizeof(Real) == 8, std::int64_t, std::int32_t>;

/// scores[i, j] <- -inf where key_times[j] > query_times[i], on all round_up(num_keys, kColumnBlock) columns. Returns the number of pairs left.
template <class Real>
struct CausalMask {
  Real* scores;  ///< [num_queries, stride], aligned to 64 bytes
  std::int64_t stride, num_queries, num_keys;
  const MaskTime<Real>* query_times;  ///< [num_queries]
  const MaskTime<Real>* key_times;    ///< [num_keys], padded with the largest time, aligned to 64 bytes
};
std::int64_t mask_causal(const CausalMask<float>& mask);
std::int64_t mask_causal(const CausalMask<double>& mask);

/// Folds a tile of scores (log2 units) into the running softmax of its rows: row_max and row_sum are updated, scores become
/// exp2(score - row_max), rescale[i] = exp2(old row_max - new row_max): what the unnormalised output must be multiplied by.
/// A row whose maximum stays -inf keeps its zeros. Columns from num_keys up to the next multiple of kColumnBlock become 0.
template <class Real>
struct SoftmaxFold {
  Real* scores;  ///< [num_queries, stride], aligned to 64 bytes
  std::int64_t stride, num_queries, num_keys;
  Real *row_max, *row_sum;  ///< element i at [i * state_stride]
  std::int64_t state_stride;
  Real* rescale;  ///< [round_up(num_queries, kRowLanes)], aligned to 64 bytes
};
void fold_softmax(const SoftmaxFold<float>& fold);
void fold_softmax(const SoftmaxFold<double>& fold);

/// Scores become probabilities p = exp2(score - lse2) (0 where lse2 = -inf), d_scores (dO . v, times scale) become p * (d_score - scale * delta).
template <class Real>
struct SoftmaxGradient {
  Real *scores, *d_scores;  ///< [num_queries, stride], aligned to 64 bytes
  std::int64_t stride, num_queries, num_keys;
  const Real *lse2, *delta;  ///< element i at [i * state_stride]
  std::int64_t state_stride;
  Real scale;
};
void differentiate_softmax(const SoftmaxGradient<float>& gradient);
void differentiate_softmax(const SoftmaxGradient<double>& gradient);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/pattern.h"
#include "core/tensor.h"

namespace hilbertring {

/// Where one chunk lies: its positions, and the row of its first position in the buffers of the shard that holds it. Rows ascend with positions.
struct ChunkRows {
  Range<Position> positions;
  LocalRow first_row;

  LocalRow row_of(Position p) const { return first_row + (p - positions.begin); }
};

/// A query chunk meets a key chunk.
struct ChunkPair {
  ChunkRows queries;
  ChunkRows keys;
};

/// Sequence indices of the rows of the query shard and of the key shard; read only with Causal::kSequence (else they may be empty).
struct Times {
  std::span<const std::int64_t> queries;  ///< [Nq]
  std::span<const std::int64_t> keys;     ///< [Nk]
};

/// Nq and Nk are the rows of the query shard and of the key shard, T the input type, Real = arithmetic_type(T). All tensors lie on the device.
struct ForwardOperands {
  ConstTensor q;     ///< [B, H, Nq, D] of T
  ConstTensor k, v;  ///< [B, G, Nk, D] of T
  Times times;
  double scale = 1.0;
  // The running state of the softmax, per query row, carried from call to call as it is. Before the first call: row_max = -inf, the rest 0.
  Tensor row_max;  ///< [B, H, Nq, 1] of Real: largest scale * q.k so far, in units of log2(e), or up to 8 less
  Tensor row_sum;  ///< [B, H, Nq, 1] of Real: sum of exp2(score - row_max)
  Tensor o;        ///< [B, H, Nq, D] of Real: not normalised
};

struct BackwardOperands {
  ConstTensor q, d_o;  ///< [B, H, Nq, D] of T
  ConstTensor k, v;    ///< [B, G, Nk, D] of T
  ConstTensor lse2;    ///< [B, H, Nq, 1] of Real: log2 of the softmax denominator, as `finish_forward` leaves it; -inf for an empty row
  ConstTensor delta;   ///< [B, H, Nq, 1] of Real: dO . o
  Times times;
  double scale = 1.0;
  Tensor dq;      ///< [B, H, Nq, D] of Real, added to
  Tensor dk, dv;  ///< [B, G, Nk, D] of Real, added to
};

/// The kernels of one device, and the memory they work on. Not for concurrent use: each rank has its own.
///
/// Order of summation (the "fold law"): pairs are folded as if one after the other in the order given; a pair is folded branch by branch, and inside
/// a (pair, branch) in a fixed order that depends on nothing but the pair. Hence the bits of the state depend neither on how pairs are spread over
/// calls nor on threads; pairs that share neither query chunk nor key chunk may run at the same time. Rows without an allowed pair are neither read
/// nor written, nor are rows outside the chunks named.
class BlockAttention {
 public:
  virtual ~BlockAttention() = default;

  /// "CPU, AVX3, 2 threads"
  virtual std::string description() const = 0;
  /// Folds the pairs into row_max, row_sum, o. Returns the number of allowed pairs (all heads, all batch elements) that are known at once.
  virtual std::int64_t forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) = 0;
  /// Allowed pairs of calls of `forward` since the last call of this, as far as those have not returned them: a device counts some of its own. Waits
  /// for the device then.
  virtual std::int64_t take_uncounted_pairs() { return 0; }
  /// o <- o / row_sum (0 for an empty row), row_max <- log2 of the denominator (-inf for an empty row): `lse2` of the backward pass.
  virtual void finish_forward(const ForwardOperands& operands) = 0;
  /// delta <- sum over columns of dO * o. delta: [B, H, Nq, 1] of Real, d_o: [B, H, Nq, D] of T, o: [B, H, Nq, D] of Real, finished.
  virtual void dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) = 0;
  /// Folds the pairs into dq, dk and dv: dq of a query chunk in the order of its pairs, dk and dv of a key chunk in the order of its own.
  virtual void backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) = 0;
  /// Gives back the device's memory that only makes it faster, since somebody needs it. Returns whether there was any. Waits for the device then.
  virtual bool give_back_memory() { return false; }
};

}  // namespace hilbertring

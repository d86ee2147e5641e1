#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/buffer.h"
#include "core/tensor.h"
#include "ring/schedule.h"

namespace hilbertring {

/// A rank's own rows: inputs, state and results, each [B, heads, num_rows, columns], in one buffer. Tensors of the backward pass are empty without
/// gradient.
struct Shard {
  Shard(const Problem& problem, std::int64_t num_rows, const std::shared_ptr<MemoryMeter>& meter);
  /// Bytes of that buffer.
  static std::int64_t size_bytes(const Problem& problem, std::int64_t num_rows);

  Tensor q, k, v, d_o;         ///< of the input type
  Tensor o, row_max, row_sum;  ///< of the arithmetic type: the state of the fold, then o and lse2 (block_attention.h)
  Tensor delta, dq, dk, dv;    ///< of the arithmetic type
  Buffer memory;
};

/// Sequence indices of a rank's rows (Causal::kSequence), and of a visitor's.
std::int64_t times_bytes(const Problem& problem, std::int64_t num_rows);
std::span<std::int64_t> times_in(const Buffer& buffer);
/// Fills `times` with the sequence indices of the rows of rank k.
void fill_times(const Order& order, const ChunkPlacement& placement, Rank k, std::span<std::int64_t> times);

/// dst[i] = factor * src[i], rounded once to dst's type; same sizes; dst and src do not overlap.
void convert(const ConstTensor& src, const Tensor& dst, double factor, int num_threads);

}  // namespace hilbertring

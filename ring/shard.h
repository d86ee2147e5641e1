#pragma once

#include <cstdint>
#include <memory>

#include "core/buffer.h"
#include "core/compute_device.h"
#include "core/tensor.h"
#include "ring/schedule.h"

namespace hilbertring {

/// A rank's own rows: inputs, state and results, each [B, heads, num_rows, columns], in one buffer. Tensors of the backward pass are empty without
/// gradient.
struct Shard {
  Shard(const Problem& problem, std::int64_t num_rows, ComputeDevice& device, std::shared_ptr<MemoryMeter> meter);
  /// Bytes of that buffer.
  static std::int64_t size_bytes(const Problem& problem, std::int64_t num_rows);

  Tensor q, k, v, d_o;         ///< of the input type
  Tensor o, row_max, row_sum;  ///< of the arithmetic type: the state of the fold, then o and lse2 (block_attention.h)
  Tensor delta, dq, dk, dv;    ///< of the arithmetic type
  Buffer memory;
};

}  // namespace hilbertring

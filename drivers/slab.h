#pragma once

#include <cstdint>
#include <vector>

#include "core/buffer.h"
#include "core/index.h"
#include "core/shape.h"
#include "io/case_file.h"
#include "ring/attention.h"
#include "ring/transport.h"

namespace hilbertring {

/// q, k, v, and do if there is a gradient.
std::vector<TensorName> input_names(bool has_gradient);
/// o, lse, and dq, dk, dv if there is a gradient.
std::vector<TensorName> result_names(bool has_gradient);

/// What the library calls it.
ShardTensor shard_tensor(TensorName name);

/// Heads of a tensor: H, or G for k, v, dk and dv.
std::int64_t heads_of(TensorName name, const Shape& shape);
/// Columns of a tensor: D, or 1 for row scalars (lse and, in checkpoints, row_max and row_sum).
std::int64_t columns_of(TensorName name, const Shape& shape);
/// Bytes of `num_tokens` tokens of a tensor, all batch elements and heads.
std::int64_t slab_bytes(TensorName name, const Shape& shape, ElementType type, std::int64_t num_tokens);
// Between the file's slab of this rank and the shard, piece by piece. Collective.
void load_tensor(RingAttention& attention, CaseFile& file, TensorName name);
void store_tensor(RingAttention& attention, TensorName name, ElementType type, FileWriter& file);
/// Room for so many tokens on each rank. Collective: all throw the same Error(kFailure) if one has not the memory.
Buffer make_slab(Transport& transport, TensorName name, const Shape& shape, ElementType type, std::int64_t num_tokens);
/// Index of an element in a slab that begins at token 0: [B, n, heads, D], or [B, H, n] for row scalars.
std::int64_t element_index(TensorName name, const Shape& shape, std::int64_t num_tokens, std::int64_t batch, std::int64_t token, std::int64_t head,
                           std::int64_t column);

}  // namespace hilbertring

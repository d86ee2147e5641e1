#pragma once

#include <span>
#include <vector>

#include "core/block_attention.h"

namespace hilbertring {

/// What every kind of kernels refuses, in the same words: usage_error names the tensor or the chunk, what it is and what it must be.
void check_forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs);
void check_backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs);
void check_state(const ForwardOperands& operands);
void check_dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o);

/// A chunk and the chunks that it meets, in the order of the pairs.
struct Meetings {
  ChunkRows chunk;
  std::vector<ChunkRows> others;
};

/// Pairs by the chunk on their `own` side; groups in the order of their first pair. Throws usage_error if two chunks begin at the same row.
std::vector<Meetings> group_pairs(std::span<const ChunkPair> pairs, ChunkRows ChunkPair::*own, ChunkRows ChunkPair::*other);

}  // namespace hilbertring

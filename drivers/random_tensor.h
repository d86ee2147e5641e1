#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/element_type.h"
#include "core/index.h"
#include "core/shape.h"
#include "io/case_file.h"

namespace hilbertring {

/// The inputs that `generate` writes and `bench` computes on: element (b, t, h, d) of q, k, v or do is the standard normal number of the seed, the
/// tensor and the element's row-major index in the whole tensor [B, N, heads, D], rounded once to the type. Any rank makes any part.
struct RandomInputs {
  Shape shape;
  ElementType type = ElementType::kFloat32;
  std::uint64_t seed = 0;
};

/// Makes tokens of a tensor as files have them, out: [B, tokens.size(), heads, D]. `name` is q, k, v or do.
void fill_random_tokens(const RandomInputs& inputs, TensorName name, Range<SequenceIndex> tokens, std::span<std::byte> out, int num_threads);

/// Makes one row as float64: row.size() is D. Reentrant.
void read_random_row(const RandomInputs& inputs, TensorName name, std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> row);

}  // namespace hilbertring

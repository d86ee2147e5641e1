#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/index.h"
#include "io/case_file.h"
#include "io/slabs.h"

namespace hilbertring {

/// All names of datasets that the program knows, inputs first.
inline constexpr std::array kTensorNames = {TensorName::kQ,  TensorName::kK,      TensorName::kV,     TensorName::kDo,
                                            TensorName::kO,  TensorName::kLse,    TensorName::kDq,    TensorName::kDk,
                                            TensorName::kDv, TensorName::kRowMax, TensorName::kRowSum};

/// [B, N, H, D], [B, N, G, D], or for row scalars [B, H, N].
std::vector<std::int64_t> dataset_shape(TensorName name, const Shape& shape);
/// The dimension that counts tokens: 1, or for row scalars 2.
std::size_t token_dimension(TensorName name);
/// Tokens [begin, end) of a dataset of that shape. Throws usage_error, beginning with `what`, unless they lie in [0, N] and fill `num_bytes` of
/// buffer.
Slab token_slab(TensorName name, const std::vector<std::int64_t>& shape, Range<SequenceIndex> tokens, std::int64_t element_bytes,
                std::size_t num_bytes, const std::string& what);

std::int64_t num_elements(const std::vector<std::int64_t>& shape);
/// "[1, 64, 2, 8]"
std::string print_shape(const std::vector<std::int64_t>& shape);

}  // namespace hilbertring

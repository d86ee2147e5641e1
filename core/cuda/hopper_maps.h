#pragma once

#include <cuda.h>

#include <cstdint>

#include "core/tensor.h"

namespace hilbertring {

/// What the copy engine needs to know to fetch, of one batch element and head of [B, heads, N, D] (16 bits an element), `box_rows` rows that lie
/// `stride` rows apart, 64 columns at a time, into the swizzled layout of `PanelTile`. Row i * stride + residue has coordinates (column, residue, i,
/// batch * heads + head); columns past D come as 0. Throws Error(kFailure, "CUDA").
CUtensorMap make_row_map(const ConstTensor& tensor, std::int64_t stride, std::int32_t box_rows);

}  // namespace hilbertring

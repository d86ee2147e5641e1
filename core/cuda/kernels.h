#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "core/block_attention.h"
#include "core/compute_device.h"
#include "core/cuda/score_gradients.h"
#include "core/cuda/work_items.h"
#include "core/cuda/work_list.h"

namespace hilbertring {

/// One launch of a work list that lies on the device: each thread block takes one of the tiles.
struct Launch {
  const WorkTile* tiles;  ///< [num_tiles], device; so are the arrays below
  std::int64_t num_tiles;
  const OwnRun* own_runs;
  const Meeting* meetings;
  const TimeExtremes* extremes;
  const std::uint32_t* mask_words;
  std::span<const std::int64_t> strides;  ///< `WorkList::strides`, host
  std::int32_t* num_claimed;              ///< 0 on the device: for thread blocks that claim tiles one after the other
  Causal causal;
  cudaStream_t stream;
};

/// Tiles that the kernels of a type take on the current device; a function of its kind, type and head dimension only.
TileRows forward_tile_rows(ElementType type, std::int64_t head_dim);
TileRows backward_tile_rows(ElementType type, std::int64_t head_dim);
/// Whether launch_backward_in_rounds knows the type and head dimension, and is the faster way: up to 64 columns it is not.
bool has_backward_rounds(ElementType type, std::int64_t head_dim);

/// Kernels on the tiles of a launch, asynchronous on its stream. Stored is the type of q: Float16 and Bfloat16 run on tensor cores with float32
/// sums, float and double in plain arithmetic. Each thread block adds to its own rows of the results only. Bits depend on the order of meetings
/// alone.
///
/// Forward: `pair_counter` (one integer, device) is increased by the number of allowed pairs; null where the host has counted them.
template <class Stored>
void launch_forward(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter);
/// Adds to dq: a list whose owners are queries.
template <class Stored>
void launch_query_gradient(const Launch& launch, const BackwardOperands& operands);
/// Adds to dk and dv: a list whose owners are keys.
template <class Stored>
void launch_key_gradients(const Launch& launch, const BackwardOperands& operands);

/// Adds to dq, dk and dv what the two launches above would, in their bits: lists of both owners, with their tiles plane after plane, in one launch
/// whose counters are 0. Only where has_backward_rounds().
void launch_backward_in_rounds(const Launch& keys, const Launch& queries, const ScoreGradientRounds& rounds, const BackwardOperands& operands);

/// Earliest and latest time of each task's rows. tasks, extremes: [num_tasks], device; so are the times.
void launch_extremes(const ExtremesTask* tasks, std::int64_t num_tasks, const Times& times, TimeExtremes* extremes, cudaStream_t stream);

/// `BlockAttention::finish_forward` and `dot_rows`: a warp takes a row.
void launch_finish(const ForwardOperands& operands, cudaStream_t stream);
void launch_dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o, cudaStream_t stream);

/// `ComputeDevice::fill`, `fill_random`, `convert`, `copy_rows` and `copy_listed_rows`.
void launch_fill(const Tensor& tensor, double value, cudaStream_t stream);
void launch_fill_random(const Tensor& tensor, const RandomRows& rows, cudaStream_t stream);
void launch_convert(const ConstTensor& src, const Tensor& dst, double factor, cudaStream_t stream);
void launch_copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message, cudaStream_t stream);
void launch_copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host, cudaStream_t stream);

}  // namespace hilbertring

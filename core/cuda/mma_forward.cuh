#pragma once

#include <cmath>

#include "core/cuda/mma_rows.cuh"
#include "core/cuda/softmax_scale.h"

namespace hilbertring {

template <class Stored>
struct MmaForwardParameters {
  WorkView work;
  DeviceRows<const Stored> q, k, v;
  DeviceRows<float> row_max, row_sum, o;
  float score_sign;    ///< +1, -1 or 0: applied to q.k first, so that the factor behind it is positive and keeps maxima maxima
  float score_factor;  ///< > 0: |scale| * log2(e)
  unsigned long long* pair_counter;
};

/// Shared memory of a thread block: its queries, and two stages of keys and values, one loaded while the other is used.
template <int kColumns, int kRowBlocks>
struct MmaForwardShared {
  static constexpr int kOwnRows = kMmaWarps * 16 * kRowBlocks;
  static constexpr int kOwnBytes = SharedTile<kColumns>::num_bytes(kOwnRows);
  static constexpr int kOtherBytes = SharedTile<kColumns>::num_bytes(kOtherRows);

  alignas(128) std::byte queries[kOwnBytes];
  alignas(128) std::byte keys[2][kOtherBytes];
  alignas(128) std::byte values[2][kOtherBytes];
  std::int64_t query_times[kOwnRows];
  std::int64_t key_times[2][kOtherRows];
  Walk<Owner::kQueries> walk;
  Step steps[3];
};

/// The running softmax of the rows that a thread shares: 16 kRowBlocks rows a warp, of which it holds two in each block.
template <int kColumns, int kRowBlocks>
struct RunningSoftmax {
  float max[kRowBlocks][2], sum[kRowBlocks][2];
  Accumulator o[kRowBlocks][kColumns / 8];
};

template <class Stored, int kColumns, int kRowBlocks>
__device__ void load_softmax(const MmaForwardParameters<Stored>& p, const OwnTile& own, RunningSoftmax<kColumns, kRowBlocks>& state) {
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
    state.max[block][0] = state.max[block][1] = -INFINITY;
    state.sum[block][0] = state.sum[block][1] = 0.0F;
  }
  for_each_row<kRowBlocks>(own.num_rows, [&](int block, int half, int row) {
    const std::int64_t at = own.first_row + row * own.stride;
    state.max[block][half] = *p.row_max.row(own.batch, own.head, at);
    state.sum[block][half] = *p.row_sum.row(own.batch, own.head, at);
  });
  load_rows<kColumns, kRowBlocks>(p.o, own, 0, state.o);
}

template <class Stored, int kColumns, int kRowBlocks>
__device__ void store_softmax(const MmaForwardParameters<Stored>& p, const OwnTile& own, const RunningSoftmax<kColumns, kRowBlocks>& state) {
  for_each_row<kRowBlocks>(own.num_rows, [&](int block, int half, int row) {
    if (threadIdx.x % 4 != 0) return;
    const std::int64_t at = own.first_row + row * own.stride;
    *p.row_max.row(own.batch, own.head, at) = state.max[block][half];
    *p.row_sum.row(own.batch, own.head, at) = state.sum[block][half];
  });
  store_rows<kColumns, kRowBlocks>(p.o, own, 0, state.o);
}

/// max <- max(max, scores), p = exp2(scores - max), sum <- rescale * sum + sum of p, o <- rescale * o, with rescale = exp2(old max - max).
/// All in one order that no neighbour row or tile can change: fused operations are written out, and a row is summed up tile by tile.
template <int kColumns, int kRowBlocks>
__device__ void fold_scores(Accumulator (&scores)[kRowBlocks][8], float factor, RunningSoftmax<kColumns, kRowBlocks>& state) {
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = -INFINITY;
#pragma unroll
      for (const auto& quad : scores[block]) largest = fmaxf(largest, fmaxf(quad[2 * half], quad[2 * half + 1]));
      const float old_max = state.max[block][half];
      const float new_max = fmaxf(old_max, __fmul_rn(max_of_row(largest), factor));
      // A row that has seen no key yet keeps its zeros; infinity minus infinity would make them NaN.
      const float shift = new_max == -INFINITY ? 0.0F : new_max;
      const float rescale = exp2_fast(__fsub_rn(old_max, shift));
      float sum = 0.0F;
#pragma unroll
      for (auto& quad : scores[block]) {
        quad[2 * half] = exp2_fast(__fmaf_rn(quad[2 * half], factor, -shift));
        quad[2 * half + 1] = exp2_fast(__fmaf_rn(quad[2 * half + 1], factor, -shift));
        sum = __fadd_rn(sum, __fadd_rn(quad[2 * half], quad[2 * half + 1]));
      }
      state.max[block][half] = new_max;
      state.sum[block][half] = __fmaf_rn(state.sum[block][half], rescale, sum_of_row(sum));
      // After the first tiles maxima seldom rise; a factor of 1 changes no bit, so a warp whose rows all have it goes on. With two row blocks the
      // branch costs more than it saves (core/WORKLOG.md).
      if constexpr (kRowBlocks == 1) {
        if (!__any_sync(0xffffffffU, rescale != 1.0F)) continue;
      }
#pragma unroll
      for (auto& quad : state.o[block]) {
        quad[2 * half] = __fmul_rn(quad[2 * half], rescale);
        quad[2 * half + 1] = __fmul_rn(quad[2 * half + 1], rescale);
      }
    }
  }
}

/// Keys and values of a step, and its times if anybody asks, to one of the two stages.
template <class Stored, int kColumns, int kRowBlocks>
__device__ void copy_step_async(const MmaForwardParameters<Stored>& p, MmaForwardShared<kColumns, kRowBlocks>& shared, const Step& step, int stage) {
  const OwnTile& own = shared.walk.own;
  const RowRun& run = p.work.meetings[step.meeting].rows;
  const std::int64_t first_row = run.first_row + step.first_index * run.stride;
  const std::int32_t kv_head = own.head / p.work.heads_per_kv_head;
  const std::int64_t stride = run.stride * p.k.columns;
  const int num_columns = static_cast<int>(p.k.columns);
  copy_rows_async<kOtherRows, kColumns, kMmaThreads>(SharedTile<kColumns>{shared_address(shared.keys[stage])}, p.k.row(own.batch, kv_head, first_row),
                                                     stride, step.num_rows, num_columns);
  copy_rows_async<kOtherRows, kColumns, kMmaThreads>(SharedTile<kColumns>{shared_address(shared.values[stage])},
                                                     p.v.row(own.batch, kv_head, first_row), stride, step.num_rows, num_columns);
  if (p.work.causal == Causal::kSequence)
    copy_times_async<kOtherRows>(shared.key_times[stage], p.work.key_times + first_row, run.stride, step.num_rows);
}

template <class Stored, int kColumns, int kRowBlocks>
__device__ void copy_queries_async(const MmaForwardParameters<Stored>& p, MmaForwardShared<kColumns, kRowBlocks>& shared, const OwnTile& own) {
  constexpr int kOwnRows = MmaForwardShared<kColumns, kRowBlocks>::kOwnRows;
  copy_rows_async<kOwnRows, kColumns, kMmaThreads>(SharedTile<kColumns>{shared_address(shared.queries)}, p.q.row(own.batch, own.head, own.first_row),
                                                   own.stride * p.q.columns, own.num_rows, static_cast<int>(p.q.columns));
  if (p.work.causal == Causal::kSequence)
    copy_times_async<kOwnRows>(shared.query_times, p.work.query_times + own.first_row, own.stride, own.num_rows);
}

/// S = Q K^T; P = exp2(S - max); O = rescale * O + P V.
template <class Stored, int kColumns, int kRowBlocks>
__device__ unsigned fold_step(const MmaForwardParameters<Stored>& p, MmaForwardShared<kColumns, kRowBlocks>& shared, const Step& step, int stage,
                              RunningSoftmax<kColumns, kRowBlocks>& state) {
  const int first_row = static_cast<int>(threadIdx.x) / kWarpThreads * 16 * kRowBlocks;
  Accumulator scores[kRowBlocks][8];
  multiply_rows<Stored, kColumns, kRowBlocks>(scores, SharedTile<kColumns>{shared_address(shared.queries)}, first_row,
                                              SharedTile<kColumns>{shared_address(shared.keys[stage])});
  if (p.score_sign != 1.0F) {
#pragma unroll
    for (auto& block : scores) {
#pragma unroll
      for (auto& quad : block) {
        for (float& score : quad) score *= p.score_sign;
      }
    }
  }
  unsigned num_allowed = 0;
  if (step.tile_class == TileClass::kPartial) {
    const auto mask = tile_mask<Owner::kQueries>(p.work, shared.walk.own, step, shared.query_times, shared.key_times[stage]);
    num_allowed = mask_tile(scores, mask, -INFINITY);
  } else if (threadIdx.x == 0) {
    num_allowed = static_cast<unsigned>(shared.walk.own.num_rows * step.num_rows);
  }
  fold_scores<kColumns, kRowBlocks>(scores, p.score_factor, state);
  LeftFragment probabilities[kRowBlocks][4];
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) round_to_left_fragments<Stored>(probabilities[block], scores[block]);
  add_product<Stored, kColumns, kColumns, kRowBlocks>(state.o, probabilities, SharedTile<kColumns>{shared_address(shared.values[stage])}, 0);
  return num_allowed;
}

/// A thread block owns a tile of queries and walks the keys that it meets, one step being loaded while the step before it is computed.
template <class Stored, int kColumns, int kRowBlocks>
__global__ void __launch_bounds__(kMmaThreads, kRowBlocks) mma_forward(const __grid_constant__ MmaForwardParameters<Stored> p) {
  using Shared = MmaForwardShared<kColumns, kRowBlocks>;
  extern __shared__ __align__(128) std::byte shared_bytes[];
  Shared& shared = *reinterpret_cast<Shared*>(shared_bytes);
  if (threadIdx.x == 0) {
    shared.walk.start(own_tile(p.work, p.work.tiles[blockIdx.x], Shared::kOwnRows));
    shared.steps[0] = shared.walk.next(p.work);
    shared.steps[1] = shared.walk.next(p.work);
  }
  __syncthreads();
  if (shared.steps[0].tile_class == TileClass::kEmpty) return;
  copy_queries_async(p, shared, shared.walk.own);
  copy_step_async(p, shared, shared.steps[0], 0);
  RunningSoftmax<kColumns, kRowBlocks> state;
  load_softmax(p, shared.walk.own, state);

  // Three descriptions of steps: one in use, one being loaded, one being found; the barrier publishes and frees them.
  unsigned num_allowed = 0;
  for (int index = 0, stage = 0;; index = (index + 1) % 3, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    const Step step = shared.steps[index];
    const Step next = shared.steps[(index + 1) % 3];
    const bool is_last = next.tile_class == TileClass::kEmpty;
    if (!is_last) {
      copy_step_async(p, shared, next, stage ^ 1);
      if (threadIdx.x == 0) shared.steps[(index + 2) % 3] = shared.walk.next(p.work);
    }
    num_allowed += fold_step(p, shared, step, stage, state);
    if (is_last) break;
  }
  store_softmax(p, shared.walk.own, state);
  if (p.pair_counter != nullptr) add_to_counter(p.pair_counter, num_allowed);
}

/// Two row blocks a warp halve what it reads from shared memory for each product; at 256 columns there are registers for one.
constexpr int forward_row_blocks(std::int64_t head_dim) { return head_dim <= 128 ? 2 : 1; }
constexpr std::int32_t mma_forward_rows(std::int64_t head_dim) { return kMmaWarps * 16 * forward_row_blocks(head_dim); }

template <class Stored, int kColumns>
void launch_mma_forward(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  constexpr int kRowBlocks = forward_row_blocks(kColumns);
  const MmaForwardParameters<Stored> parameters{.work = work_view(launch, operands.times, operands.q, operands.k),
                                                .q = device_rows<Stored>(operands.q),
                                                .k = device_rows<Stored>(operands.k),
                                                .v = device_rows<Stored>(operands.v),
                                                .row_max = device_rows<float>(operands.row_max),
                                                .row_sum = device_rows<float>(operands.row_sum),
                                                .o = device_rows<float>(operands.o),
                                                .score_sign = score_sign(operands.scale),
                                                .score_factor = score_factor(operands.scale),
                                                .pair_counter = pair_counter};
  launch_checked(mma_forward<Stored, kColumns, kRowBlocks>, launch.num_tiles, kMmaThreads, sizeof(MmaForwardShared<kColumns, kRowBlocks>),
                 launch.stream, parameters);
}

template <class Stored>
void launch_mma_forward(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  const std::int64_t head_dim = operands.q.columns;
  if (head_dim <= 64) {
    launch_mma_forward<Stored, 64>(launch, operands, pair_counter);
  } else if (head_dim <= 128) {
    launch_mma_forward<Stored, 128>(launch, operands, pair_counter);
  } else {
    launch_mma_forward<Stored, 256>(launch, operands, pair_counter);
  }
}

}  // namespace hilbertring

#pragma once

#include <cmath>
#include <numbers>

#include "core/cuda/mma_rows.cuh"

namespace hilbertring {

template <class Stored>
struct MmaBackwardParameters {
  WorkView work;
  DeviceRows<const Stored> q, d_o, k, v;
  DeviceRows<const float> lse2, delta;
  DeviceRows<float> dq, dk, dv;
  float scale, score_factor;  ///< scale, scale * log2(e)
};

inline constexpr int kBackwardRows = kMmaWarps * 16;

/// Shared memory of a thread block: its own rows of (Q, dO) or (K, V), and two stages of the other pair.
template <int kColumns>
struct MmaBackwardShared {
  static constexpr int kTileBytes = SharedTile<kColumns>::num_bytes(kOtherRows);

  alignas(128) std::byte own[2][kTileBytes];
  alignas(128) std::byte other[2][2][kTileBytes];  ///< [stage][tensor]
  std::int64_t own_times[kBackwardRows];
  std::int64_t other_times[2][kOtherRows];
  float lse2[2][kOtherRows], delta[2][kOtherRows];  ///< [stage]: where the others are queries

  __device__ static SharedTile<kColumns> tile(const std::byte* data) { return {shared_address(data)}; }
};

template <Owner kOwner, int kColumns>
struct MmaBackwardBlock {
  MmaBackwardShared<kColumns> memory;
  Walk<kOwner> walk;
  Step steps[3];
};

/// p = 0 where lse2 = -infinity: a row without keys.
__device__ inline float shift_of(float lse2) { return lse2 == -INFINITY ? INFINITY : lse2; }

/// The two tensors of one side, (Q, dO) or (K, V), for a head.
template <class Stored>
struct TwoTensors {
  const Stored* first;
  const Stored* second;
};
template <Owner kSide, class Stored>
__device__ TwoTensors<Stored> rows_of_side(const MmaBackwardParameters<Stored>& p, std::int32_t batch, std::int32_t head, std::int64_t row) {
  if constexpr (kSide == Owner::kQueries) return {p.q.row(batch, head, row), p.d_o.row(batch, head, row)};
  return {p.k.row(batch, head, row), p.v.row(batch, head, row)};
}
constexpr Owner other_side(Owner side) { return side == Owner::kQueries ? Owner::kKeys : Owner::kQueries; }

template <int kColumns, class Stored>
__device__ void copy_two_async(const std::byte (&to)[2][MmaBackwardShared<kColumns>::kTileBytes], TwoTensors<Stored> from, std::int64_t stride,
                               int num_rows, int num_columns) {
  copy_rows_async<kOtherRows, kColumns, kMmaThreads>(SharedTile<kColumns>{shared_address(to[0])}, from.first, stride, num_rows, num_columns);
  copy_rows_async<kOtherRows, kColumns, kMmaThreads>(SharedTile<kColumns>{shared_address(to[1])}, from.second, stride, num_rows, num_columns);
}

template <Owner kOwner, int kColumns, class Stored>
__device__ void copy_own_async(const MmaBackwardParameters<Stored>& p, MmaBackwardBlock<kOwner, kColumns>& block) {
  const OwnTile& own = block.walk.own;
  copy_two_async<kColumns>(block.memory.own, rows_of_side<kOwner>(p, own.batch, own.head, own.first_row), own.stride * p.q.columns, own.num_rows,
                           static_cast<int>(p.q.columns));
  const std::int64_t* times = kOwner == Owner::kQueries ? p.work.query_times : p.work.key_times;
  if (p.work.causal == Causal::kSequence) copy_times_async<kBackwardRows>(block.memory.own_times, times + own.first_row, own.stride, own.num_rows);
}

template <Owner kOwner, int kColumns, class Stored>
__device__ void copy_step_async(const MmaBackwardParameters<Stored>& p, MmaBackwardBlock<kOwner, kColumns>& block, const Step& step, int stage) {
  constexpr Owner kOther = other_side(kOwner);
  const OwnTile& own = block.walk.own;
  const Meeting& meeting = p.work.meetings[step.meeting];
  const std::int64_t stride = meeting.rows.stride;
  const std::int64_t first_row = meeting.rows.first_row + step.first_index * stride;
  const std::int32_t head = kOther == Owner::kKeys ? own.head / p.work.heads_per_kv_head : own.head * p.work.heads_per_kv_head + meeting.head_offset;
  copy_two_async<kColumns>(block.memory.other[stage], rows_of_side<kOther>(p, own.batch, head, first_row), stride * p.q.columns, step.num_rows,
                           static_cast<int>(p.q.columns));
  const std::int64_t* times = kOther == Owner::kQueries ? p.work.query_times : p.work.key_times;
  if (p.work.causal == Causal::kSequence) copy_times_async<kOtherRows>(block.memory.other_times[stage], times + first_row, stride, step.num_rows);
  if (kOther == Owner::kQueries && threadIdx.x < kOtherRows) {
    const bool is_valid = static_cast<int>(threadIdx.x) < step.num_rows;
    const std::int64_t row = first_row + (is_valid ? threadIdx.x * stride : 0);
    copy_async_4(shared_address(&block.memory.lse2[stage][threadIdx.x]), p.lse2.row(own.batch, head, row), is_valid);
    copy_async_4(shared_address(&block.memory.delta[stage][threadIdx.x]), p.delta.row(own.batch, head, row), is_valid);
  }
}

/// Walks what the thread block's tile meets, one step being loaded while fold(step, stage) computes the one before. False if it meets nothing;
/// begin() is called before the first step, while that is being loaded.
template <Owner kOwner, int kColumns, class Stored, class Begin, class Fold>
__device__ bool walk_steps(const MmaBackwardParameters<Stored>& p, MmaBackwardBlock<kOwner, kColumns>& block, Begin&& begin, Fold&& fold) {
  if (threadIdx.x == 0) {
    block.walk.start(own_tile(p.work, p.work.tiles[blockIdx.x], kBackwardRows));
    block.steps[0] = block.walk.next(p.work);
    block.steps[1] = block.walk.next(p.work);
  }
  __syncthreads();
  if (block.steps[0].tile_class == TileClass::kEmpty) return false;
  copy_own_async(p, block);
  copy_step_async(p, block, block.steps[0], 0);
  begin();
  // Three descriptions of steps: one in use, one being loaded, one being found; the barrier publishes and frees them.
  for (int index = 0, stage = 0;; index = (index + 1) % 3, stage ^= 1) {
    wait_for_copies();
    __syncthreads();
    const Step step = block.steps[index];
    const Step next = block.steps[(index + 1) % 3];
    const bool is_last = next.tile_class == TileClass::kEmpty;
    if (!is_last) {
      copy_step_async(p, block, next, stage ^ 1);
      if (threadIdx.x == 0) block.steps[(index + 2) % 3] = block.walk.next(p.work);
    }
    fold(step, stage);
    if (is_last) return true;
  }
}

/// dQ += dS K with S = Q K^T, P = exp2(S - lse2), dS = P * scale * (dO V^T - delta): a thread block owns queries.
template <class Stored, int kColumns>
__global__ void __launch_bounds__(kMmaThreads, blocks_per_multiprocessor(kColumns))
    mma_query_gradient(const __grid_constant__ MmaBackwardParameters<Stored> p) {
  using Memory = MmaBackwardShared<kColumns>;
  extern __shared__ __align__(128) std::byte shared_bytes[];
  auto& block = *reinterpret_cast<MmaBackwardBlock<Owner::kQueries, kColumns>*>(shared_bytes);
  const Memory& memory = block.memory;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpThreads * 16;
  float shift[2] = {INFINITY, INFINITY}, scaled_delta[2] = {0.0F, 0.0F};
  Accumulator dq[1][kColumns / 8];
  const auto begin = [&] {
    const OwnTile& own = block.walk.own;
    for_each_row<1>(own.num_rows, [&](int, int half, int row) {
      const std::int64_t at = own.first_row + row * own.stride;
      shift[half] = shift_of(*p.lse2.row(own.batch, own.head, at));
      scaled_delta[half] = __fmul_rn(p.scale, *p.delta.row(own.batch, own.head, at));
    });
    load_rows<kColumns, 1>(p.dq, own, 0, dq);
  };
  const auto fold = [&](const Step& step, int stage) {
    Accumulator probabilities[1][8], d_scores[1][8];
    multiply_rows<Stored, kColumns, 1>(probabilities, Memory::tile(memory.own[0]), warp_row, Memory::tile(memory.other[stage][0]));
#pragma unroll
    for (auto& quad : probabilities[0]) {
#pragma unroll
      for (int i = 0; i < 4; ++i) quad[i] = exp2_fast(__fmaf_rn(quad[i], p.score_factor, -shift[i / 2]));
    }
    if (step.tile_class == TileClass::kPartial) {
      mask_tile(probabilities, tile_mask<Owner::kQueries>(p.work, block.walk.own, step, memory.own_times, memory.other_times[stage]), 0.0F);
    }
    multiply_rows<Stored, kColumns, 1>(d_scores, Memory::tile(memory.own[1]), warp_row, Memory::tile(memory.other[stage][1]));
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        d_scores[0][n][i] = __fmul_rn(probabilities[0][n][i], __fmaf_rn(d_scores[0][n][i], p.scale, -scaled_delta[i / 2]));
      }
    }
    LeftFragment left[1][4];
    round_to_left_fragments<Stored>(left[0], d_scores[0]);
    add_product<Stored, kColumns, kColumns, 1>(dq, left, Memory::tile(memory.other[stage][0]), 0);
  };
  if (walk_steps(p, block, begin, fold)) store_rows<kColumns, 1>(p.dq, block.walk.own, 0, dq);
}

/// Columns of dK and dV that a thread block adds up: at 256 the registers hold half of them, and two blocks share the work.
constexpr int key_gradient_columns(int num_columns) { return num_columns <= 128 ? num_columns : 128; }

/// dV += P^T dO, dK += dS^T Q: a thread block owns keys. It computes S^T = K Q^T, so that P^T and dS^T come out as left factors of these products.
template <class Stored, int kColumns>
__global__ void __launch_bounds__(kMmaThreads, blocks_per_multiprocessor(kColumns))
    mma_key_gradients(const __grid_constant__ MmaBackwardParameters<Stored> p) {
  using Memory = MmaBackwardShared<kColumns>;
  constexpr int kOutColumns = key_gradient_columns(kColumns);
  extern __shared__ __align__(128) std::byte shared_bytes[];
  auto& block = *reinterpret_cast<MmaBackwardBlock<Owner::kKeys, kColumns>*>(shared_bytes);
  const Memory& memory = block.memory;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpThreads * 16;
  const int first_column = static_cast<int>(blockIdx.y) * kOutColumns;
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
  Accumulator dk[1][kOutColumns / 8], dv[1][kOutColumns / 8];
  const auto begin = [&] {
    load_rows<kOutColumns, 1>(p.dk, block.walk.own, first_column, dk);
    load_rows<kOutColumns, 1>(p.dv, block.walk.own, first_column, dv);
  };
  const auto fold = [&](const Step& step, int stage) {
    Accumulator probabilities[1][8], d_scores[1][8];
    LeftFragment left[1][4];
    multiply_rows<Stored, kColumns, 1>(probabilities, Memory::tile(memory.own[0]), warp_row, Memory::tile(memory.other[stage][0]));
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 lse2 = *reinterpret_cast<const float2*>(&memory.lse2[stage][8 * n + pair]);
      const float shift[2] = {shift_of(lse2.x), shift_of(lse2.y)};
#pragma unroll
      for (int i = 0; i < 4; ++i) probabilities[0][n][i] = exp2_fast(__fmaf_rn(probabilities[0][n][i], p.score_factor, -shift[i % 2]));
    }
    if (step.tile_class == TileClass::kPartial) {
      mask_tile(probabilities, tile_mask<Owner::kKeys>(p.work, block.walk.own, step, memory.own_times, memory.other_times[stage]), 0.0F);
    }
    round_to_left_fragments<Stored>(left[0], probabilities[0]);
    add_product<Stored, kOutColumns, kColumns, 1>(dv, left, Memory::tile(memory.other[stage][1]), first_column / kPieceElements);
    multiply_rows<Stored, kColumns, 1>(d_scores, Memory::tile(memory.own[1]), warp_row, Memory::tile(memory.other[stage][1]));
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 delta = *reinterpret_cast<const float2*>(&memory.delta[stage][8 * n + pair]);
      const float scaled_delta[2] = {__fmul_rn(p.scale, delta.x), __fmul_rn(p.scale, delta.y)};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        d_scores[0][n][i] = __fmul_rn(probabilities[0][n][i], __fmaf_rn(d_scores[0][n][i], p.scale, -scaled_delta[i % 2]));
      }
    }
    round_to_left_fragments<Stored>(left[0], d_scores[0]);
    add_product<Stored, kOutColumns, kColumns, 1>(dk, left, Memory::tile(memory.other[stage][0]), first_column / kPieceElements);
  };
  if (!walk_steps(p, block, begin, fold)) return;
  store_rows<kOutColumns, 1>(p.dk, block.walk.own, first_column, dk);
  store_rows<kOutColumns, 1>(p.dv, block.walk.own, first_column, dv);
}

template <class Stored>
MmaBackwardParameters<Stored> mma_backward_parameters(const Launch& launch, const BackwardOperands& operands) {
  return {.work = work_view(launch, operands.times, operands.q, operands.k),
          .q = device_rows<Stored>(operands.q),
          .d_o = device_rows<Stored>(operands.d_o),
          .k = device_rows<Stored>(operands.k),
          .v = device_rows<Stored>(operands.v),
          .lse2 = device_rows<float>(operands.lse2),
          .delta = device_rows<float>(operands.delta),
          .dq = device_rows<float>(operands.dq),
          .dk = device_rows<float>(operands.dk),
          .dv = device_rows<float>(operands.dv),
          .scale = static_cast<float>(operands.scale),
          .score_factor = static_cast<float>(operands.scale * std::numbers::log2e)};
}

template <int kColumns, class Stored>
void launch_mma_backward(const Launch& launch, Owner owner, const MmaBackwardParameters<Stored>& parameters) {
  if (owner == Owner::kQueries) {
    launch_checked(mma_query_gradient<Stored, kColumns>, launch.num_tiles, kMmaThreads, sizeof(MmaBackwardBlock<Owner::kQueries, kColumns>),
                   launch.stream, parameters);
  } else {
    launch_checked(mma_key_gradients<Stored, kColumns>, launch.num_tiles, kMmaThreads, sizeof(MmaBackwardBlock<Owner::kKeys, kColumns>),
                   launch.stream, parameters, kColumns / key_gradient_columns(kColumns));
  }
}

template <class Stored>
void launch_mma_backward(const Launch& launch, Owner owner, const BackwardOperands& operands) {
  const auto parameters = mma_backward_parameters<Stored>(launch, operands);
  const std::int64_t head_dim = operands.q.columns;
  if (head_dim <= 64) {
    launch_mma_backward<64>(launch, owner, parameters);
  } else if (head_dim <= 128) {
    launch_mma_backward<128>(launch, owner, parameters);
  } else {
    launch_mma_backward<256>(launch, owner, parameters);
  }
}

}  // namespace hilbertring

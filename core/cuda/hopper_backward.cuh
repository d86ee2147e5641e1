#pragma once

#include <cmath>
#include <numbers>

#include "core/cuda/hopper_backward_block.cuh"
#include "core/cuda/hopper_query_sum.cuh"

namespace hilbertring {

// ---- The consumers.

/// 64 own rows by 64 others: scores, probabilities and their gradients.
using BackwardTile = float[kHopperBackwardOthers / 8][4];
using BackwardFactor = std::uint32_t[kHopperBackwardOthers / 16][4];

/// Hands in c = A B^T for the warpgroup's rows of own tensor `which` and all of the other tensor `which`.
template <Owner kOwner, class Stored, int kColumns, bool kKeeps>
__device__ __forceinline__ void begin_inner(BackwardTile& c, const HopperBackwardShared<kOwner, kColumns, kKeeps>& shared, unsigned group, int which,
                                            int stage) {
  using Shared = HopperBackwardShared<kOwner, kColumns, kKeeps>;
  const SharedFactor own = Shared::OwnTileLayout::by_rows(shared_address(shared.own_data[which]), static_cast<int>(64 * group));
  const SharedFactor other = Shared::OtherTileLayout::by_rows(shared_address(shared.other_data[stage][which]), 0);
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    multiply_add_shared<Stored, false>(c, own.moved_by(Shared::OwnTileLayout::column_step(step)),
                                       other.moved_by(Shared::OtherTileLayout::column_step(step)), step > 0);
  }
  end_group();
}

/// Hands in c += A B for a left factor in registers and other tensor `which`, but does not end the group.
template <Owner kOwner, class Stored, int kColumns, bool kKeeps>
__device__ __forceinline__ void begin_outer(float (&c)[kColumns / 8][4], const BackwardFactor& left,
                                            const HopperBackwardShared<kOwner, kColumns, kKeeps>& shared, int which, int stage) {
  using Tile = typename HopperBackwardShared<kOwner, kColumns, kKeeps>::OtherTileLayout;
  const SharedFactor right = Tile::by_columns(shared_address(shared.other_data[stage][which]));
#pragma unroll
  for (int step = 0; step < kHopperBackwardOthers / 16; ++step) {
    multiply_add<Stored, true>(c, left[step], right.moved_by(Tile::row_step(step)), true);
  }
}

template <class Stored>
__device__ __forceinline__ void round_tile(const BackwardTile& c, BackwardFactor& left) {
#pragma unroll
  for (int k = 0; k < kHopperBackwardOthers / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) left[k][i] = round_pair<Stored>(c[2 * k + i / 2][2 * (i % 2)], c[2 * k + i / 2][2 * (i % 2) + 1]);
  }
}

/// Which pairs of the thread's two rows are allowed, 16 bits a row. Asked before scores and gradients take their registers.
template <Owner kOwner, class Stored, int kColumns, bool kKeeps>
__device__ __forceinline__ std::uint32_t allowed_pairs(const HopperBackwardBlock<kOwner, Stored, kColumns, kKeeps>& block, const Consumer& me,
                                                       int stage) {
  static_assert(kHopperBackwardOthers / 4 == 16);
  auto& shared = block.shared;
  const Step& step = shared.steps[stage].step;
  if (!__any_sync(0xffffffffU, step.tile_class == TileClass::kPartial)) return ~0U;
  const auto mask = tile_mask<kOwner>(block.p.work, shared.own, step, shared.own_times, shared.other_times[stage]);
  return (allowed_columns<kHopperBackwardOthers>(me, mask, me.first_row) & 0xFFFFU) |
         allowed_columns<kHopperBackwardOthers>(me, mask, me.first_row + 8) << 16;
}

/// Probabilities of forbidden pairs become 0.
__device__ __forceinline__ void mask_probabilities(BackwardTile& c, std::uint32_t allowed) {
  if (!__any_sync(0xffffffffU, allowed != ~0U)) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < kHopperBackwardOthers / 4; ++i) {
      float& element = c[i / 2][2 * half + i % 2];
      element = (allowed >> (16 * half + i) & 1U) != 0 ? element : 0.0F;
    }
  }
}

/// Walks the steps. For each, S has arrived and dP is being computed when fold(stage, allowed pairs) is called, which hands in what they are factors
/// of, as one group; while that is computed, the next step's S is handed in. (No later: S, dP, two left factors and two results are more than there
/// are registers.) Returns false if there is no step; begin() is called before the first, prepare(stage) while a step's S is being computed.
template <Owner kOwner, class Stored, int kColumns, bool kKeeps, class Begin, class Prepare, class Fold>
__device__ __forceinline__ bool consume_steps(const HopperBackwardBlock<kOwner, Stored, kColumns, kKeeps>& block, const Consumer& me,
                                              BackwardTile& scores, BackwardTile& gradients, Begin&& begin, Prepare&& prepare, Fold&& fold) {
  auto& shared = block.shared;
  auto& others = block.barriers.others;
  RingPlace<kBackwardStages> stage, last;
  others.wait_until_full(stage);
  if (shared.steps[0].is_end) return false;
  wait_for(shared_address(&block.barriers.own_full), 0);
  begin();
  for (bool is_first = true;; is_first = false) {
    const std::uint32_t allowed = allowed_pairs(block, me, stage.index);
    pin(scores);
    begin_products();
    begin_inner<kOwner, Stored, kColumns>(scores, shared, me.group, 0, stage.index);
    wait_for_groups<1>();
    if (!is_first) others.release(last, me.is_first_lane);
    prepare(stage.index);
    pin(gradients);
    begin_products();
    begin_inner<kOwner, Stored, kColumns>(gradients, shared, me.group, 1, stage.index);
    wait_for_groups<1>();
    pin(scores);
    fold(stage.index, allowed);
    last = stage;
    stage.advance();
    others.wait_until_full(stage);
    if (__any_sync(0xffffffffU, shared.steps[stage.index].is_end)) break;
  }
  wait_for_groups<0>();
  return true;
}

/// dQ += dS K with S = Q K^T, P = exp2(S - lse2), dS = P * scale * (dO V^T - delta).
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_query_gradient(const HopperBackwardBlock<Owner::kQueries, Stored, kColumns>& block) {
  const Consumer me;
  const auto& p = block.p;
  auto& shared = block.shared;
  BackwardTile scores, gradients;
  BackwardFactor left;
  float dq[kColumns / 8][4];
  float shift[2] = {INFINITY, INFINITY}, scaled_delta[2] = {0.0F, 0.0F};
  const auto begin = [&] {
    const OwnTile& own = shared.own;
    for_each_row_of_consumer(me, own, [&](int half, std::int64_t row) {
      const float lse2 = *p.lse2.row(own.batch, own.head, row);
      shift[half] = lse2 == -INFINITY ? INFINITY : lse2;
      scaled_delta[half] = __fmul_rn(p.scale, *p.delta.row(own.batch, own.head, row));
    });
    load_part(p.results[0], me, own, dq);
  };
  const auto fold = [&](int stage, std::uint32_t allowed) {
#pragma unroll
    for (int i = 0; i < kHopperBackwardOthers / 2; ++i) {
      scores[i / 4][i % 4] = exp2_fast(__fmaf_rn(scores[i / 4][i % 4], p.score_factor, -shift[i % 4 / 2]));
    }
    mask_probabilities(scores, allowed);
    wait_for_groups<0>();
    pin(gradients);
#pragma unroll
    for (int i = 0; i < kHopperBackwardOthers / 2; ++i) {
      gradients[i / 4][i % 4] = __fmul_rn(scores[i / 4][i % 4], __fmaf_rn(gradients[i / 4][i % 4], p.scale, -scaled_delta[i % 4 / 2]));
    }
    round_tile<Stored>(gradients, left);
    pin(dq);
    begin_products();
    begin_outer<Owner::kQueries, Stored, kColumns>(dq, left, shared, 0, stage);
    end_group();
  };
  if (!consume_steps(
          block, me, scores, gradients, begin, [](int) {}, fold))
    return;
  pin(dq);
  store_part(p.results[0], me, shared.own, dq);
}

/// Where a warp leaves its 16 rows of a block of score gradients: in shared memory, whence they go to their place in the block.
class ScoreGradientRows {
 public:
  template <class Block>
  __device__ ScoreGradientRows(const Block& block, const Consumer& me) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const int warp = (static_cast<int>(threadIdx.x) - kWarpgroupThreads) / kWarpThreads;
    first_ = shared_address(block.shared.score_gradients) + static_cast<std::uint32_t>(warp * kRowsOfWarp * kPitch);
    // Matrices of a 16 x 16 part: rows 0 to 7 and 8 to 15 of its left piece, then of its right one.
    const int row = lane % 16;
    mine_ = first_ + static_cast<std::uint32_t>(row * kPitch + ((lane / 16) ^ (row % 8)) * kPieceBytes);
    const ScoreGradients& kept = block.p.score_gradients;
    to_ = kept.blocks + me.group * kept.num_query_blocks * kScoreBlockBytes + warp % 4 * kRowsOfWarp * kPitch;
    is_first_lane_ = me.is_first_lane;
  }
  __device__ __forceinline__ void leave(const BackwardFactor& gradients, std::int64_t block) const {
    if (is_first_lane_) wait_until_copied_out();
    __syncwarp();
#pragma unroll
    for (int k = 0; k < kHopperBackwardOthers / 16; ++k) store_matrices(mine_ ^ static_cast<std::uint32_t>(2 * k * kPieceBytes), gradients[k]);
    publish_to_async_proxy();
    __syncwarp();
    if (is_first_lane_) begin_copy_out(to_ + block * kScoreBlockBytes, first_, kRowsOfWarp * kPitch);
  }
  __device__ void finish() const {
    if (is_first_lane_) wait_for_copies_out();
  }

 private:
  static constexpr int kRowsOfWarp = 16;
  static constexpr int kPitch = 128;

  std::uint32_t first_, mine_;
  std::byte* to_;
  bool is_first_lane_;
};

/// dV += P^T dO, dK += dS^T Q; leaves dS^T behind if it is kept.
template <class Stored, int kColumns, bool kKeeps>
__device__ __forceinline__ void consume_key_gradients(const HopperBackwardBlock<Owner::kKeys, Stored, kColumns, kKeeps>& block) {
  const Consumer me;
  const auto& p = block.p;
  auto& shared = block.shared;
  BackwardTile scores, gradients;
  BackwardFactor probabilities, left;
  float dk[kColumns / 8][4], dv[kColumns / 8][4];
  float2 lse2[kHopperBackwardOthers / 8], delta[kHopperBackwardOthers / 8];
  const auto begin = [&] {
    load_part(p.results[0], me, shared.own, dk);
    load_part(p.results[1], me, shared.own, dv);
  };
  const auto prepare = [&](int stage) {
#pragma unroll
    for (int n = 0; n < kHopperBackwardOthers / 8; ++n) lse2[n] = *reinterpret_cast<const float2*>(&shared.lse2[stage][8 * n + me.first_column]);
  };
  const ScoreGradientRows rows(block, me);
  const auto fold = [&](int stage, std::uint32_t allowed) {
#pragma unroll
    for (int n = 0; n < kHopperBackwardOthers / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = exp2_fast(__fmaf_rn(scores[n][i], p.score_factor, i % 2 == 0 ? -lse2[n].x : -lse2[n].y));
    }
#pragma unroll
    for (int n = 0; n < kHopperBackwardOthers / 8; ++n) delta[n] = *reinterpret_cast<const float2*>(&shared.delta[stage][8 * n + me.first_column]);
    mask_probabilities(scores, allowed);
    wait_for_groups<0>();
    pin(gradients);
#pragma unroll
    for (int n = 0; n < kHopperBackwardOthers / 8; ++n) {
      const float scaled[2] = {__fmul_rn(p.scale, delta[n].x), __fmul_rn(p.scale, delta[n].y)};
#pragma unroll
      for (int i = 0; i < 4; ++i) gradients[n][i] = __fmul_rn(scores[n][i], __fmaf_rn(gradients[n][i], p.scale, -scaled[i % 2]));
    }
    round_tile<Stored>(scores, probabilities);
    round_tile<Stored>(gradients, left);
    if constexpr (kKeeps) rows.leave(left, shared.steps[stage].block);
    pin(dv);
    pin(dk);
    begin_products();
    begin_outer<Owner::kKeys, Stored, kColumns>(dv, probabilities, shared, 1, stage);
    begin_outer<Owner::kKeys, Stored, kColumns>(dk, left, shared, 0, stage);
    end_group();
  };
  if (!consume_steps(block, me, scores, gradients, begin, prepare, fold)) return;
  pin(dk);
  pin(dv);
  store_part(p.results[0], me, shared.own, dk);
  store_part(p.results[1], me, shared.own, dv);
  if constexpr (kKeeps) rows.finish();
}

/// Empty but in code for sm_90a.
template <Owner kOwner, class Stored, int kColumns, bool kKeeps>
__global__ void __launch_bounds__((kBackwardGroups + 1) * kWarpgroupThreads, 1)
    hopper_backward(const __grid_constant__ HopperBackwardParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Block = HopperBackwardBlock<kOwner, Stored, kColumns, kKeeps>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperBackwardBarriers barriers;
  const Block block{p, *reinterpret_cast<typename Block::Shared*>(shared_bytes), barriers};
  if (threadIdx.x == 0) barriers.init(Block::kScalarArrivals);
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    shrink_registers<Block::kProducerRegisters>();
    if (threadIdx.x < kWarpThreads) produce(block);
  } else {
    grow_registers<Block::kConsumerRegisters>();
    if constexpr (kOwner == Owner::kQueries) {
      consume_query_gradient(block);
    } else {
      consume_key_gradients(block);
    }
  }
#endif
}

template <class Stored>
bool has_hopper_backward_code(std::int64_t head_dim) {
  if (head_dim > 128) return false;
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, hopper_backward<Owner::kQueries, Stored, 128, false>));
  return attributes.sharedSizeBytes > 0;
}

template <Owner kOwner, class Stored>
HopperBackwardParameters<Stored> hopper_backward_parameters(const Launch& launch, const BackwardOperands& operands) {
  const auto own = [&](const ConstTensor& tensor) { return mapped_rows<Stored>(tensor, launch.strides, kHopperBackwardOwnRows); };
  const auto other = [&](const ConstTensor& tensor) { return mapped_rows<Stored>(tensor, launch.strides, kHopperBackwardOthers); };
  HopperBackwardParameters<Stored> parameters{.own = {},
                                              .other = {},
                                              .work = work_view(launch, operands.times, operands.q, operands.k),
                                              .lse2 = device_rows<float>(operands.lse2),
                                              .delta = device_rows<float>(operands.delta),
                                              .results = {},
                                              .scale = static_cast<float>(operands.scale),
                                              .score_factor = static_cast<float>(operands.scale * std::numbers::log2e),
                                              .score_gradients = launch.score_gradients};
  if constexpr (kOwner == Owner::kQueries) {
    parameters.own[0] = own(operands.q);
    parameters.own[1] = own(operands.d_o);
    parameters.other[0] = other(operands.k);
    parameters.other[1] = other(operands.v);
    parameters.results[0] = device_rows<float>(operands.dq);
  } else {
    parameters.own[0] = own(operands.k);
    parameters.own[1] = own(operands.v);
    parameters.other[0] = other(operands.q);
    parameters.other[1] = other(operands.d_o);
    parameters.results[0] = device_rows<float>(operands.dk);
    parameters.results[1] = device_rows<float>(operands.dv);
  }
  return parameters;
}

template <Owner kOwner, class Stored, int kColumns, bool kKeeps>
void launch_hopper_backward_of(const Launch& launch, const BackwardOperands& operands) {
  constexpr unsigned kThreads = (kBackwardGroups + 1) * kWarpgroupThreads;
  launch_checked(hopper_backward<kOwner, Stored, kColumns, kKeeps>, launch.num_tiles, kThreads,
                 sizeof(HopperBackwardShared<kOwner, kColumns, kKeeps>), launch.stream, hopper_backward_parameters<kOwner, Stored>(launch, operands));
}

/// Score gradients are kept, or found, where the launch has a place for them.
template <class Stored>
void launch_hopper_backward_for(const Launch& launch, Owner owner, const BackwardOperands& operands) {
  const bool is_narrow = operands.q.columns <= 64;
  if (launch.score_gradients.blocks != nullptr && !is_narrow) {
    if (owner == Owner::kKeys) return launch_hopper_backward_of<Owner::kKeys, Stored, 128, true>(launch, operands);
    return launch_hopper_query_sum<Stored>(launch, operands);
  }
  if (owner == Owner::kQueries) {
    is_narrow ? launch_hopper_backward_of<Owner::kQueries, Stored, 64, false>(launch, operands)
              : launch_hopper_backward_of<Owner::kQueries, Stored, 128, false>(launch, operands);
  } else {
    is_narrow ? launch_hopper_backward_of<Owner::kKeys, Stored, 64, false>(launch, operands)
              : launch_hopper_backward_of<Owner::kKeys, Stored, 128, false>(launch, operands);
  }
}

}  // namespace hilbertring

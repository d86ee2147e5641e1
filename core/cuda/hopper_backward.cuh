#pragma once

#include <cmath>
#include <numbers>
#include <type_traits>

#include "core/cuda/hopper_backward_block.cuh"

namespace hilbertring {

// ---- The consumers.

/// 64 own rows by a step's others: scores, probabilities and their gradients.
template <int kColumns>
using BackwardTile = float[kBackwardOthers<kColumns> / 8][4];
template <int kColumns>
using BackwardFactor = std::uint32_t[kBackwardOthers<kColumns> / 16][4];
/// Which pairs of the thread's two rows are allowed, a bit each: first those of the one, then those of the other.
template <int kColumns>
using AllowedPairs = std::conditional_t<kBackwardOthers<kColumns> == 64, std::uint32_t, std::uint64_t>;

/// Hands in c = A B^T for the warpgroup's rows of own tensor `which` and all of the other tensor `which`.
template <Owner kOwner, class Stored, int kColumns>
__device__ __forceinline__ void begin_inner(BackwardTile<kColumns>& c, const HopperBackwardShared<kOwner, kColumns>& shared, unsigned group,
                                            int which, int stage) {
  using Shared = HopperBackwardShared<kOwner, kColumns>;
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
template <Owner kOwner, class Stored, int kColumns>
__device__ __forceinline__ void begin_outer(float (&c)[kColumns / 8][4], const BackwardFactor<kColumns>& left,
                                            const HopperBackwardShared<kOwner, kColumns>& shared, int which, int stage) {
  using Tile = typename HopperBackwardShared<kOwner, kColumns>::OtherTileLayout;
  const SharedFactor right = Tile::by_columns(shared_address(shared.other_data[stage][which]));
#pragma unroll
  for (int step = 0; step < kBackwardOthers<kColumns> / 16; ++step) {
    multiply_add<Stored, true>(c, left[step], right.moved_by(Tile::row_step(step)), true);
  }
}

template <class Stored, int kSteps>
__device__ __forceinline__ void round_tile(const float (&c)[2 * kSteps][4], std::uint32_t (&left)[kSteps][4]) {
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) left[k][i] = round_pair<Stored>(c[2 * k + i / 2][2 * (i % 2)], c[2 * k + i / 2][2 * (i % 2) + 1]);
  }
}

/// Asked before scores and gradients take their registers.
template <Owner kOwner, class Stored, int kColumns>
__device__ __forceinline__ AllowedPairs<kColumns> allowed_pairs(const HopperBackwardBlock<kOwner, Stored, kColumns>& block, const Consumer& me,
                                                                int stage) {
  using Pairs = AllowedPairs<kColumns>;
  constexpr int kBitsOfRow = kBackwardOthers<kColumns> / 4;
  static_assert(2 * kBitsOfRow == 8 * sizeof(Pairs));
  auto& shared = block.shared;
  const Step& step = shared.steps[stage].step;
  if (!__any_sync(0xffffffffU, step.tile_class == TileClass::kPartial)) return ~Pairs{0};
  const auto mask = tile_mask<kOwner>(block.p.work, shared.own, step, shared.own_times, shared.other_times[stage]);
  const Pairs first = allowed_columns<kBackwardOthers<kColumns>>(me, mask, me.first_row);
  const Pairs second = allowed_columns<kBackwardOthers<kColumns>>(me, mask, me.first_row + 8);
  return (first & ~Pairs{0} >> kBitsOfRow) | second << kBitsOfRow;
}

/// Probabilities of forbidden pairs become 0.
template <int kQuads, class Pairs>
__device__ __forceinline__ void mask_probabilities(float (&c)[kQuads][4], Pairs allowed) {
  if (!__any_sync(0xffffffffU, allowed != ~Pairs{0})) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < 2 * kQuads; ++i) {
      float& element = c[i / 2][2 * half + i % 2];
      element = (allowed >> (2 * kQuads * half + i) & 1U) != 0 ? element : 0.0F;
    }
  }
}

/// Up to 64 columns turns gain nothing, and cost causal attention up to 3 %.
template <int kColumns>
using BackwardTurns = Turns<kBackwardGroups, (kColumns > 64)>;

/// Walks the steps, the first of which is in `stage`. For each, S has arrived and dP is being computed when
/// fold(stage, allowed pairs) is called, which hands in what they are factors of, when it is the warpgroup's turn; while that is computed, the next
/// step's S is handed in. (No later: S, dP, two left factors and two results are more than there are registers.) begin() is called before the first,
/// prepare(stage) while a step's S is being computed.
template <Owner kOwner, class Stored, int kColumns, class Begin, class Prepare, class Fold>
__device__ __forceinline__ void consume_steps(const HopperBackwardBlock<kOwner, Stored, kColumns>& block, const Consumer& me,
                                              RingPlace<kBackwardStages>& stage, BackwardTile<kColumns>& scores, BackwardTile<kColumns>& gradients,
                                              Begin&& begin, Prepare&& prepare, Fold&& fold) {
  auto& shared = block.shared;
  auto& others = block.barriers.others;
  RingPlace<kBackwardStages> last;
  wait_for(shared_address(&block.barriers.own_full), 0);
  begin();
  BackwardTurns<kColumns>::begin(me.group);
  BackwardTurns<kColumns>::wait_for(me.group);
  for (bool is_first = true;; is_first = false) {
    const AllowedPairs<kColumns> allowed = allowed_pairs(block, me, stage.index);
    pin(scores);
    begin_products();
    begin_inner<kOwner, Stored, kColumns>(scores, shared, me.group, 0, stage.index);
    wait_for_groups<1>();
    if (!is_first) others.release(last, me.is_first_lane);
    prepare(stage.index);
    pin(gradients);
    begin_products();
    begin_inner<kOwner, Stored, kColumns>(gradients, shared, me.group, 1, stage.index);
    BackwardTurns<kColumns>::pass(me.group);
    wait_for_groups<1>();
    pin(scores);
    fold(stage.index, allowed);
    last = stage;
    stage.advance();
    others.wait_until_full(stage);
    if (__any_sync(0xffffffffU, shared.steps[stage.index].kind != StepKind::kFold)) break;
  }
  BackwardTurns<kColumns>::pass(me.group);
  BackwardTurns<kColumns>::end(me.group);
  wait_for_groups<0>();
}

/// Waits for the first step. Returns false if there is none.
template <class Block>
__device__ bool has_steps(const Block& block, const RingPlace<kBackwardStages>& stage) {
  block.barriers.others.wait_until_full(stage);
  return block.shared.steps[stage.index].kind == StepKind::kFold;
}

/// dQ += dS K with S = Q K^T, P = exp2(S - lse2), dS = P * scale * (dO V^T - delta).
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_query_gradient(const HopperBackwardBlock<Owner::kQueries, Stored, kColumns>& block) {
  const Consumer me;
  const auto& p = block.p;
  auto& shared = block.shared;
  RingPlace<kBackwardStages> stage;
  BackwardTile<kColumns> scores, gradients;
  BackwardFactor<kColumns> left;
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
  const auto fold = [&](int stage, AllowedPairs<kColumns> allowed) {
#pragma unroll
    for (int i = 0; i < kBackwardOthers<kColumns> / 2; ++i) {
      scores[i / 4][i % 4] = exp2_fast(__fmaf_rn(scores[i / 4][i % 4], p.score_factor, -shift[i % 4 / 2]));
    }
    mask_probabilities(scores, allowed);
    wait_for_groups<0>();
    pin(gradients);
#pragma unroll
    for (int i = 0; i < kBackwardOthers<kColumns> / 2; ++i) {
      gradients[i / 4][i % 4] = __fmul_rn(scores[i / 4][i % 4], __fmaf_rn(gradients[i / 4][i % 4], p.scale, -scaled_delta[i % 4 / 2]));
    }
    round_tile<Stored>(gradients, left);
    BackwardTurns<kColumns>::wait_for(me.group);
    pin(dq);
    begin_products();
    begin_outer<Owner::kQueries, Stored, kColumns>(dq, left, shared, 0, stage);
    end_group();
  };
  if (!has_steps(block, stage)) return;
  consume_steps(
      block, me, stage, scores, gradients, begin, [](int) {}, fold);
  pin(dq);
  store_part(p.results[0], me, shared.own, dq);
}

/// For kernels that keep no score gradients.
struct NoScoreGradients {
  template <int kSteps>
  __device__ void leave(const std::uint32_t (&)[kSteps][4], std::int32_t) const {}
};

/// dV += P^T dO, dK += dS^T Q over the steps, the first of which is in `stage`. `kept.leave(dS^T, its block)` is called for each.
template <class Stored, int kColumns, class Kept>
__device__ __forceinline__ void fold_key_tile(const HopperBackwardBlock<Owner::kKeys, Stored, kColumns>& block, const Consumer& me,
                                              RingPlace<kBackwardStages>& stage, const Kept& kept) {
  const auto& p = block.p;
  auto& shared = block.shared;
  BackwardTile<kColumns> scores, gradients;
  BackwardFactor<kColumns> probabilities, left;
  float dk[kColumns / 8][4], dv[kColumns / 8][4];
  constexpr int kQuads = kBackwardOthers<kColumns> / 8;
  // Read a wait ahead, where a step is short; else there are no registers to hold them, and time enough.
  constexpr bool kReadsAhead = kQuads <= 8;
  float2 lse2[kQuads], delta[kQuads];
  const auto read = [&](float2(&to)[kQuads], const float* from) {
#pragma unroll
    for (int n = 0; n < kQuads; ++n) to[n] = *reinterpret_cast<const float2*>(&from[8 * n + me.first_column]);
  };
  const auto begin = [&] {
    load_part(p.results[0], me, shared.own, dk);
    load_part(p.results[1], me, shared.own, dv);
  };
  const auto prepare = [&](int stage) {
    if constexpr (kReadsAhead) read(lse2, shared.lse2[stage]);
  };
  const auto fold = [&](int stage, AllowedPairs<kColumns> allowed) {
    if constexpr (!kReadsAhead) read(lse2, shared.lse2[stage]);
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = exp2_fast(__fmaf_rn(scores[n][i], p.score_factor, i % 2 == 0 ? -lse2[n].x : -lse2[n].y));
    }
    if constexpr (kReadsAhead) read(delta, shared.delta[stage]);
    mask_probabilities(scores, allowed);
    wait_for_groups<0>();
    pin(gradients);
    if constexpr (!kReadsAhead) read(delta, shared.delta[stage]);
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
      const float scaled[2] = {__fmul_rn(p.scale, delta[n].x), __fmul_rn(p.scale, delta[n].y)};
#pragma unroll
      for (int i = 0; i < 4; ++i) gradients[n][i] = __fmul_rn(scores[n][i], __fmaf_rn(gradients[n][i], p.scale, -scaled[i % 2]));
    }
    round_tile<Stored>(scores, probabilities);
    round_tile<Stored>(gradients, left);
    kept.leave(left, shared.steps[stage].score_block);
    BackwardTurns<kColumns>::wait_for(me.group);
    pin(dv);
    pin(dk);
    begin_products();
    begin_outer<Owner::kKeys, Stored, kColumns>(dv, probabilities, shared, 1, stage);
    begin_outer<Owner::kKeys, Stored, kColumns>(dk, left, shared, 0, stage);
    end_group();
  };
  consume_steps(block, me, stage, scores, gradients, begin, prepare, fold);
  pin(dk);
  pin(dv);
  store_part(p.results[0], me, shared.own, dk);
  store_part(p.results[1], me, shared.own, dv);
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume_key_gradients(const HopperBackwardBlock<Owner::kKeys, Stored, kColumns>& block) {
  const Consumer me;
  RingPlace<kBackwardStages> stage;
  if (has_steps(block, stage)) fold_key_tile(block, me, stage, NoScoreGradients{});
}

/// Empty but in code for sm_90a.
template <Owner kOwner, class Stored, int kColumns>
__global__ void __launch_bounds__((kBackwardGroups + 1) * kWarpgroupThreads, 1)
    hopper_backward(const __grid_constant__ HopperBackwardParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Block = HopperBackwardBlock<kOwner, Stored, kColumns>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperBackwardBarriers barriers;
  const Block block{p, *reinterpret_cast<typename Block::Shared*>(shared_bytes), barriers};
  if (threadIdx.x == 0) barriers.init(Block::kTileArrivals, Block::kTileArrivals + Block::kScalarArrivals);
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
  check(cudaFuncGetAttributes(&attributes, hopper_backward<Owner::kQueries, Stored, 128>));
  return attributes.sharedSizeBytes > 0;
}

template <Owner kOwner, class Stored>
HopperBackwardParameters<Stored> hopper_backward_parameters(const Launch& launch, const BackwardOperands& operands) {
  const auto own = [&](const ConstTensor& tensor) { return mapped_rows<Stored>(tensor, launch.strides, kHopperBackwardOwnRows); };
  const auto other = [&](const ConstTensor& tensor) { return mapped_rows<Stored>(tensor, launch.strides, backward_others(operands.q.columns)); };
  HopperBackwardParameters<Stored> parameters{.own = {},
                                              .other = {},
                                              .work = work_view(launch, operands.times, operands.q, operands.k),
                                              .lse2 = device_rows<float>(operands.lse2),
                                              .delta = device_rows<float>(operands.delta),
                                              .results = {},
                                              .scale = static_cast<float>(operands.scale),
                                              .score_factor = static_cast<float>(operands.scale * std::numbers::log2e)};
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

template <Owner kOwner, class Stored>
void launch_hopper_backward_of(const Launch& launch, const BackwardOperands& operands) {
  const auto parameters = hopper_backward_parameters<kOwner, Stored>(launch, operands);
  constexpr unsigned kThreads = (kBackwardGroups + 1) * kWarpgroupThreads;
  if (operands.q.columns <= 64) {
    launch_checked(hopper_backward<kOwner, Stored, 64>, launch.num_tiles, kThreads, sizeof(HopperBackwardShared<kOwner, 64>), launch.stream,
                   parameters);
  } else {
    launch_checked(hopper_backward<kOwner, Stored, 128>, launch.num_tiles, kThreads, sizeof(HopperBackwardShared<kOwner, 128>), launch.stream,
                   parameters);
  }
}

}  // namespace hilbertring

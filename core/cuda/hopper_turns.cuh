#pragma once

#include <numbers>

#include "core/cuda/hopper_backward.cuh"
#include "core/cuda/hopper_turns_block.cuh"

namespace hilbertring {

/// The same number, but what is made of it in a loop is not made before the loop, where it would hold registers.
__device__ __forceinline__ int recomputed(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

/// Stages of all rings of two go by the number of the step.
__device__ __forceinline__ RingPlace<2> place_of_step(int step) { return {step & 1, static_cast<std::uint32_t>(step >> 1 & 1)}; }

/// What a warpgroup holds in registers between steps.
template <int kColumns>
struct HopperTurnsState {
  BackwardTile scores, gradients;  ///< dQ takes the place of `scores` in between
  BackwardFactor probabilities, left;
  float dk[kColumns / 8][4], dv[kColumns / 8][4];
};

/// Makes P and dS of a step, as factors in registers. Calls after_last() when the products of the step before are done.
template <class Stored, int kColumns, class AfterLast>
__device__ __forceinline__ void fold_scores(const HopperTurnsBlock<Stored, kColumns>& block, const Consumer& me, int stage,
                                            HopperTurnsState<kColumns>& state, AfterLast&& after_last) {
  const auto& p = block.p;
  auto& shared = block.shared;
  float2 two[kTurnQueryRows / 8];
  const std::uint32_t allowed = allowed_pairs<Owner::kKeys>(p.work, me, shared.own, shared.steps[stage].step, nullptr, nullptr);
  pin(state.scores);
  begin_products();
  begin_inner<Stored>(state.scores, shared, me.group, 0, stage);
  wait_for_groups<1>();
  after_last();
#pragma unroll
  for (int n = 0; n < kTurnQueryRows / 8; ++n) two[n] = *reinterpret_cast<const float2*>(&shared.lse2[stage][8 * n + me.first_column]);
  pin(state.gradients);
  begin_products();
  begin_inner<Stored>(state.gradients, shared, me.group, 1, stage);
  wait_for_groups<1>();
  pin(state.scores);
#pragma unroll
  for (int n = 0; n < kTurnQueryRows / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) state.scores[n][i] = exp2_fast(__fmaf_rn(state.scores[n][i], p.score_factor, i % 2 == 0 ? -two[n].x : -two[n].y));
  }
#pragma unroll
  for (int n = 0; n < kTurnQueryRows / 8; ++n) two[n] = *reinterpret_cast<const float2*>(&shared.delta[stage][8 * n + me.first_column]);
  mask_probabilities(state.scores, allowed);
  wait_for_groups<0>();
  pin(state.gradients);
#pragma unroll
  for (int n = 0; n < kTurnQueryRows / 8; ++n) {
    const float scaled[2] = {__fmul_rn(p.scale, two[n].x), __fmul_rn(p.scale, two[n].y)};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      state.gradients[n][i] = __fmul_rn(state.scores[n][i], __fmaf_rn(state.gradients[n][i], p.scale, -scaled[i % 2]));
    }
  }
  round_tile<Stored>(state.scores, state.probabilities);
  round_tile<Stored>(state.gradients, state.left);
}

/// dS^T of the step to shared memory, for both warpgroups.
template <class Stored, int kColumns>
__device__ __forceinline__ void share_score_gradients(const HopperTurnsBlock<Stored, kColumns>& block, const Consumer& me, const RingPlace<2>& place,
                                                      const BackwardFactor& left) {
  auto& ring = block.barriers.score_gradients;
  const int row = recomputed(me.first_row);
  const std::uint32_t first = HopperTurnsShared<kColumns>::ScoreGradientTile::piece(shared_address(block.shared.score_gradients[place.index]), row, 0) +
                              static_cast<std::uint32_t>(2 * me.first_column);
  ring.wait_until_empty(place);
  // The pieces of a row are permuted by exclusive or.
#pragma unroll
  for (int i = 0; i < kTurnQueryRows / 4; ++i) {
    const std::uint32_t at = (first ^ static_cast<std::uint32_t>(i / 2 * 16)) + static_cast<std::uint32_t>(i % 2 * 8 * 128);
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(at), "r"(left[i / 4][i % 4]) : "memory");
  }
  publish_to_async_proxy();
  __syncwarp();
  if (me.is_first_lane) arrive(ring.full_at(place));
}

/// Hands in the warpgroup's columns of dQ = dS K, as one group.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_query_gradients(const HopperTurnsBlock<Stored, kColumns>& block, const Consumer& me, const RingPlace<2>& place,
                                                      BackwardTile& dq) {
  using Shared = HopperTurnsShared<kColumns>;
  static_assert(kColumns == 128, "a warpgroup makes 64 columns");
  auto& shared = block.shared;
  block.barriers.score_gradients.wait_until_full(place);
  const SharedFactor scores = Shared::ScoreGradientTile::by_columns(shared_address(shared.score_gradients[place.index]));
  const SharedFactor keys =
      Shared::OwnTileLayout::by_columns(shared_address(shared.own_data[0]) + me.group * static_cast<unsigned>(Shared::OwnTileLayout::kPanelBytes));
  pin(dq);
  begin_products();
#pragma unroll
  for (int step = 0; step < kTurnKeyRows / 16; ++step) {
    multiply_add_shared<Stored, true, true>(dq, scores.moved_by(Shared::ScoreGradientTile::row_step(step)),
                                            keys.moved_by(Shared::OwnTileLayout::row_step(step)), step > 0);
  }
  end_group();
}

/// dQ has arrived: to shared memory, for the adding warp.
template <class Stored, int kColumns>
__device__ __forceinline__ void pass_query_gradients(const HopperTurnsBlock<Stored, kColumns>& block, const Consumer& me, const RingPlace<2>& place,
                                                     BackwardTile& dq) {
  auto& barriers = block.barriers;
  pin(dq);
  barriers.score_gradients.release(place, me.is_first_lane);
  const int row = recomputed(me.first_row) % 64;
  const std::uint32_t first =
      added_address<kColumns>(shared_address(block.shared.query_gradients[place.index]), row, static_cast<int>(64 * me.group) + me.first_column);
  barriers.query_gradients.wait_until_empty(place);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t at = (first ^ static_cast<std::uint32_t>(n % 4 * 32)) +
                               static_cast<std::uint32_t>(n / 4 * HopperTurnsShared<kColumns>::kAddedPanelBytes + half * 8 * 128);
      asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(dq[n][2 * half]), "f"(dq[n][2 * half + 1]) : "memory");
    }
  }
  publish_to_async_proxy();
  __syncwarp();
  if (me.is_first_lane) arrive(barriers.query_gradients.full_at(place));
}

/// Hands in dV += P^T dO and dK += dS^T Q, as one group.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_key_gradients(const HopperTurnsBlock<Stored, kColumns>& block, int stage, HopperTurnsState<kColumns>& state) {
  pin(state.dv);
  pin(state.dk);
  begin_products();
  begin_outer<Stored>(state.dv, state.probabilities, block.shared, 1, stage);
  begin_outer<Stored>(state.dk, state.left, block.shared, 0, stage);
  end_group();
}

/// Waits for the next step; whether there is one.
template <class Stored, int kColumns>
__device__ __forceinline__ bool has_step(const HopperTurnsBlock<Stored, kColumns>& block, const RingPlace<kTurnStages>& stage) {
  block.barriers.others.wait_until_full(stage);
  return !__any_sync(0xffffffffU, block.shared.steps[stage.index].is_end);
}

/// Folds all steps; there is at least one. dQ of a step is made in the step after.
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_steps(const HopperTurnsBlock<Stored, kColumns>& block, const Consumer& me, HopperTurnsState<kColumns>& state) {
  static_assert(kTurnStages == 2);
  auto& others = block.barriers.others;
  int step = 0;
  for (; has_step(block, place_of_step(step)); ++step) {
    fold_scores(block, me, step & 1, state, [&] {
      if (step > 0) others.release(place_of_step(step - 1), me.is_first_lane);
    });
    share_score_gradients(block, me, place_of_step(step), state.left);
    begin_query_gradients(block, me, place_of_step(step - 1), state.scores);
    begin_key_gradients(block, step & 1, state);
    wait_for_groups<1>();
    pin(state.scores);
    if (step > 0) pass_query_gradients(block, me, place_of_step(step - 1), state.scores);
  }
  wait_for_groups<0>();
  begin_query_gradients(block, me, place_of_step(step - 1), state.scores);
  wait_for_groups<0>();
  pin(state.scores);
  if (step > 0) pass_query_gradients(block, me, place_of_step(step - 1), state.scores);
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume(const HopperTurnsBlock<Stored, kColumns>& block) {
  const Consumer me;
  const auto& p = block.p;
  auto& shared = block.shared;
  HopperTurnsState<kColumns> state;
  if (!has_step(block, RingPlace<kTurnStages>{})) return;
  wait_for(shared_address(&block.barriers.own_full), 0);
  load_part(p.results[0], me, shared.own, state.dk);
  load_part(p.results[1], me, shared.own, state.dv);
  consume_steps(block, me, state);
  pin(state.dk);
  pin(state.dv);
  store_part(p.results[0], me, shared.own, state.dk);
  store_part(p.results[1], me, shared.own, state.dv);
}

/// Empty but in code for sm_90a. Thread blocks claim tiles in the order of the list, and none has to wait for a later one that has not begun.
template <class Stored, int kColumns>
__global__ void __launch_bounds__((kBackwardGroups + 1) * kWarpgroupThreads, 1) hopper_turns(const __grid_constant__ HopperTurnsParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Block = HopperTurnsBlock<Stored, kColumns>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperTurnsBarriers barriers;
  const Block block{p, *reinterpret_cast<typename Block::Shared*>(shared_bytes), barriers};
  if (threadIdx.x == 0) {
    barriers.init_all(Block::kScalarArrivals);
    barriers.claim = atomicAdd(p.num_claimed, 1);
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    shrink_registers<Block::kProducerRegisters>();
    if (threadIdx.x < kWarpThreads) {
      produce(block);
    } else if (threadIdx.x < 2 * kWarpThreads) {
      add_in_turn(block);
    }
  } else {
    grow_registers<Block::kConsumerRegisters>();
    consume(block);
  }
#endif
}

static_assert(sizeof(HopperTurnsShared<128>) + 1024 <= 227 * 1024, "what a thread block can have");

template <class Stored>
bool has_hopper_turns_code(std::int64_t head_dim) {
  if (head_dim <= 64 || head_dim > 128) return false;
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, hopper_turns<Stored, 128>));
  return attributes.sharedSizeBytes > 0;
}

template <class Stored>
void launch_hopper_turns_of(const Launch& launch, const BackwardOperands& operands) {
  const HopperTurnsParameters<Stored> parameters{
      hopper_backward_parameters<Owner::kKeys, Stored>(launch, operands),
      make_adding_map(operands.dq, kTurnQueryRows),
      device_rows<float>(operands.dq),
      launch.num_claimed,
      launch.turns,
      launch.turns_per_launch / (operands.q.batch * operands.q.heads)};
  launch_checked(hopper_turns<Stored, 128>, launch.num_tiles, (kBackwardGroups + 1) * kWarpgroupThreads, sizeof(HopperTurnsShared<128>), launch.stream,
                 parameters);
}

}  // namespace hilbertring

#pragma once

#include <algorithm>

#include "core/cuda/hopper_forward_block.cuh"
#include "core/cuda/softmax_scale.h"

namespace hilbertring {

// ---- The consumers: all functions are called by a whole warpgroup, which has 64 rows of the own tile.

template <int kColumns>
using HopperOutput = float[kColumns / 8][4];
template <class Stored>
__device__ __forceinline__ void load_sums(const HopperForwardParameters<Stored>& p, const Consumer& me, const OwnTile& own, float (&max)[2],
                                          float (&sum)[2]) {
  max[0] = max[1] = -INFINITY;
  sum[0] = sum[1] = 0.0F;
  for_each_row_of_consumer(me, own, [&](int half, std::int64_t row) {
    max[half] = *p.row_max.row(own.batch, own.head, row);
    sum[half] = *p.row_sum.row(own.batch, own.head, row);
  });
}

template <class Stored>
__device__ __forceinline__ void store_sums(const HopperForwardParameters<Stored>& p, const Consumer& me, const OwnTile& own, const float (&max)[2],
                                           const float (&sum)[2]) {
  if (me.first_column != 0) return;
  for_each_row_of_consumer(me, own, [&](int half, std::int64_t row) {
    *p.row_max.row(own.batch, own.head, row) = max[half];
    *p.row_sum.row(own.batch, own.head, row) = sum[half];
  });
}

__device__ inline unsigned flags_of(const PublishedStep& step) { return uniform(step.flags); }

/// Hands in S = Q K^T.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_scores(HopperScores& scores, const HopperForwardShared<kColumns>& shared, unsigned group, unsigned slot,
                                             int stage) {
  using QueryTile = typename HopperForwardShared<kColumns>::QueryTile;
  using KeyTile = typename HopperForwardShared<kColumns>::KeyTile;
  const SharedFactor queries = QueryTile::by_rows(shared_address(shared.queries[slot]), static_cast<int>(64 * group));
  const SharedFactor keys = KeyTile::by_rows(shared_address(shared.keys[stage]), 0);
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    multiply_add_shared<Stored, false>(scores, queries.moved_by(QueryTile::column_step(step)), keys.moved_by(KeyTile::column_step(step)), step > 0);
  }
  end_group();
}

/// Hands in O += P V.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_output(float (&o)[kColumns / 8][4], const HopperProbabilities& probabilities,
                                             const HopperForwardShared<kColumns>& shared, int stage) {
  using ValueTile = typename HopperForwardShared<kColumns>::KeyTile;
  const SharedFactor values = ValueTile::by_columns(shared_address(shared.values[stage]));
#pragma unroll
  for (int step = 0; step < kHopperKeys / 16; ++step) {
    multiply_add<Stored, true>(o, probabilities[step], values.moved_by(ValueTile::row_step(step)), true);
  }
  end_group();
}

/// What is left to do for scores that have arrived, if anything: sign and mask.
template <class Stored, int kColumns>
__device__ __forceinline__ void finish_scores(const HopperForwardBlock<Stored, kColumns>& block, const Consumer& me, HopperScores& scores, int slot,
                                              int stage, unsigned flags) {
  auto& shared = block.shared;
  if (block.p.score_sign != 1.0F) {
#pragma unroll
    for (int i = 0; i < kHopperKeys / 2; ++i) scores[i / 4][i % 4] *= block.p.score_sign;
  }
  if ((flags & PublishedStep::kIsPartial) == 0) return;
  const unsigned num_allowed = mask_scores(
      scores, me,
      tile_mask<Owner::kQueries>(block.p.work, shared.own[slot], shared.steps[stage].step, shared.query_times[slot], shared.key_times[stage]));
  const unsigned sum = __reduce_add_sync(0xffffffffU, num_allowed);
  if (me.is_first_lane) shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4] += sum;
}

/// Warpgroups hand products in by turns: names of their barriers are 1, 2, ...; 0 is the thread block's.
__device__ inline void wait_for_turn(unsigned group) { meet(static_cast<int>(1 + group), 2 * kWarpgroupThreads); }
template <int kGroups>
__device__ void pass_turn(unsigned group) {
  meet_later(static_cast<int>(group + 1 == kGroups ? 1 : 2 + group), 2 * kWarpgroupThreads);
}

/// What a warpgroup holds in registers between steps.
template <int kColumns>
struct HopperForwardState {
  HopperScores scores;
  HopperProbabilities probabilities;
  HopperOutput<kColumns> o;
  float max[2], sum[2], rescale[2];
};

/// The first step of all, which has no product of a step before to run beside.
template <class Stored, int kColumns>
__device__ __forceinline__ void fold_first_step(const HopperForwardBlock<Stored, kColumns>& block, const Consumer& me, unsigned flags,
                                                HopperForwardState<kColumns>& state) {
  auto& shared = block.shared;
  load_sums(block.p, me, shared.own[0], state.max, state.sum);
  load_part(block.p.o, me, shared.own[0], state.o);
  pin(state.scores);
  begin_products();
  begin_scores<Stored>(state.scores, shared, me.group, 0, 0);
  wait_for_groups<0>();
  pin(state.scores);
  finish_scores(block, me, state.scores, 0, 0, flags);
  block.barriers.keys.release({}, me.is_first_lane);
  fold_scores(state.scores, block.p.score_factor, state.max, state.sum, state.rescale);
  rescale_output(state.o, state.rescale);
  round_probabilities<Stored>(state.scores, state.probabilities);
}

/// Hands in the scores of a step and the product of the step before, when it is the warpgroup's turn, and waits for the scores.
template <class Stored, int kColumns>
__device__ __forceinline__ void take_turn(const HopperForwardBlock<Stored, kColumns>& block, const Consumer& me, unsigned query_slot, int key_stage,
                                          const typename HopperForwardBlock<Stored, kColumns>::StagePlace& value_stage, bool has_values,
                                          HopperForwardState<kColumns>& state) {
  wait_for_turn(me.group);
  pin(state.scores);
  pin(state.o);
  begin_products();
  begin_scores<Stored>(state.scores, block.shared, me.group, query_slot, key_stage);
  if (!has_values) block.barriers.values.wait_until_full(value_stage);
  begin_products();
  begin_output<Stored, kColumns>(state.o, state.probabilities, block.shared, value_stage.index);
  pass_turn<HopperForwardShape<kColumns>::kGroups>(me.group);
  wait_for_groups<1>();
  pin(state.scores);
}

/// The product of the last step of all.
template <class Stored, int kColumns>
__device__ __forceinline__ void finish_last_step(const HopperForwardBlock<Stored, kColumns>& block,
                                                 const typename HopperForwardBlock<Stored, kColumns>::StagePlace& value_stage,
                                                 HopperForwardState<kColumns>& state) {
  block.barriers.values.wait_until_full(value_stage);
  pin(state.o);
  begin_products();
  begin_output<Stored, kColumns>(state.o, state.probabilities, block.shared, value_stage.index);
  wait_for_groups<0>();
  pin(state.o);
}

/// Folds the steps of all tiles. Barriers are asked early whether they are open: the answer takes time, in which there is other work.
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_steps(const HopperForwardBlock<Stored, kColumns>& block, const Consumer& me) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  const auto& p = block.p;
  auto& shared = block.shared;
  auto& barriers = block.barriers;
  typename Block::StagePlace key_stage, value_stage;
  typename Block::SlotPlace slot;
  HopperForwardState<kColumns> state;

  barriers.keys.wait_until_full(key_stage);
  unsigned flags = flags_of(shared.steps[key_stage.index]);
  if ((flags & PublishedStep::kEnd) != 0) return;
  barriers.queries.wait_until_full(slot);
  fold_first_step(block, me, flags, state);
  key_stage.advance();
  barriers.keys.wait_until_full(key_stage);
  flags = flags_of(shared.steps[key_stage.index]);
  bool has_values = barriers.values.is_full(value_stage);
  while ((flags & PublishedStep::kEnd) == 0) {
    auto next_slot = slot;
    float next_max[2], next_sum[2];
    if ((flags & PublishedStep::kBeginsTile) != 0) [[unlikely]] {
      next_slot.advance();
      barriers.queries.wait_until_full(next_slot);
      load_sums(p, me, shared.own[next_slot.index], next_max, next_sum);
    }
    take_turn(block, me, uniform(static_cast<unsigned>(next_slot.index)), key_stage.index, value_stage, has_values, state);
    if ((flags & PublishedStep::kIsPartial) != 0 || p.score_sign != 1.0F) [[unlikely]] {
      finish_scores(block, me, state.scores, next_slot.index, key_stage.index, flags);
    }
    pin(state.scores);
    barriers.keys.release(key_stage, me.is_first_lane);
    key_stage.advance();
    const bool has_keys = barriers.keys.is_full(key_stage);
    if ((flags & PublishedStep::kBeginsTile) != 0) [[unlikely]] {
      store_sums(p, me, shared.own[slot.index], state.max, state.sum);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        state.max[half] = next_max[half];
        state.sum[half] = next_sum[half];
      }
    }
    fold_scores(state.scores, p.score_factor, state.max, state.sum, state.rescale);
    wait_for_groups<0>();
    pin(state.o);
    barriers.values.release(value_stage, me.is_first_lane);
    value_stage.advance();
    has_values = barriers.values.is_full(value_stage);
    if ((flags & PublishedStep::kBeginsTile) != 0) [[unlikely]] {
      store_part(p.o, me, shared.own[slot.index], state.o);
      barriers.queries.release(slot, me.is_first_lane);
      slot = next_slot;
      load_part(p.o, me, shared.own[slot.index], state.o);
    }
    if (!has_keys) barriers.keys.wait_until_full(key_stage);
    flags = flags_of(shared.steps[key_stage.index]);
    rescale_output(state.o, state.rescale);
    round_probabilities<Stored>(state.scores, state.probabilities);
  }
  finish_last_step(block, value_stage, state);
  store_sums(p, me, shared.own[slot.index], state.max, state.sum);
  store_part(p.o, me, shared.own[slot.index], state.o);
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume(const HopperForwardBlock<Stored, kColumns>& block) {
  constexpr int kGroups = HopperForwardShape<kColumns>::kGroups;
  const Consumer me;
  unsigned long long& num_masked_pairs = block.shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4];
  if (me.is_first_lane) num_masked_pairs = 0;
  if (me.group == kGroups - 1) pass_turn<kGroups>(me.group);
  consume_steps(block, me);
  // The last turn that was passed on.
  if (me.group == 0) wait_for_turn(me.group);
  if (me.is_first_lane && block.p.pair_counter != nullptr) atomicAdd(block.p.pair_counter, num_masked_pairs);
}

/// Empty but in code for sm_90a: `has_hopper_forward` sees the difference.
template <class Stored, int kColumns>
__global__ void __launch_bounds__((HopperForwardShape<kColumns>::kGroups + 1) * kWarpgroupThreads, 1)
    hopper_forward(const __grid_constant__ HopperForwardParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Shape = HopperForwardShape<kColumns>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperForwardBarriers<kColumns> barriers;
  const HopperForwardBlock<Stored, kColumns> block{p, *reinterpret_cast<HopperForwardShared<kColumns>*>(shared_bytes), barriers};
  if (threadIdx.x == 0) barriers.init();
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    shrink_registers<Shape::kProducerRegisters>();
    if (threadIdx.x < kWarpThreads) produce(block);
  } else {
    grow_registers<Shape::kConsumerRegisters>();
    consume(block);
  }
#endif
}

/// Whether the program has code of this kernel for the current device: only where that is a Hopper GPU, and the program was built for sm_90a.
template <class Stored>
bool has_hopper_forward_code(std::int64_t head_dim) {
  if (head_dim > 128) return false;
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, hopper_forward<Stored, 128>));
  return attributes.sharedSizeBytes > 0;
}

template <class Stored, int kColumns>
void launch_hopper_forward_of(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  using Shared = HopperForwardShared<kColumns>;
  const HopperForwardParameters<Stored> parameters{.q = mapped_rows<Stored>(operands.q, launch.strides, Shared::kOwnRows),
                                                   .k = mapped_rows<Stored>(operands.k, launch.strides, kHopperKeys),
                                                   .v = mapped_rows<Stored>(operands.v, launch.strides, kHopperKeys),
                                                   .work = work_view(launch, operands.times, operands.q, operands.k),
                                                   .row_max = device_rows<float>(operands.row_max),
                                                   .row_sum = device_rows<float>(operands.row_sum),
                                                   .o = device_rows<float>(operands.o),
                                                   .score_sign = score_sign(operands.scale),
                                                   .score_factor = score_factor(operands.scale),
                                                   .pair_counter = pair_counter,
                                                   .num_claimed = launch.num_claimed,
                                                   .num_tiles = launch.num_tiles};
  const std::int64_t num_blocks = std::min<std::int64_t>(launch.num_tiles, num_multiprocessors());
  launch_checked(hopper_forward<Stored, kColumns>, num_blocks, (Shared::Shape::kGroups + 1) * kWarpgroupThreads, sizeof(Shared), launch.stream,
                 parameters);
}

template <class Stored>
void launch_hopper_forward_of(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  if (operands.q.columns <= 64) {
    launch_hopper_forward_of<Stored, 64>(launch, operands, pair_counter);
  } else {
    launch_hopper_forward_of<Stored, 128>(launch, operands, pair_counter);
  }
}

}  // namespace hilbertring

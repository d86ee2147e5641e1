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

/// A warpgroup of consumers: what it holds in registers, and its steps. The way from scores to probabilities is what it takes longest for: all else
/// is done while products run that it must wait for anyway.
template <class Stored, int kColumns>
class HopperForwardConsumer {
 public:
  __device__ __forceinline__ explicit HopperForwardConsumer(const HopperForwardBlock<Stored, kColumns>& block) : block_(block) {}

  __device__ __forceinline__ void run() {
    unsigned long long& num_masked_pairs = block_.shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4];
    if (me_.is_first_lane) num_masked_pairs = 0;
    ForwardTurns::begin(me_.group);
    fold_steps();
    ForwardTurns::end(me_.group);
    if (me_.is_first_lane && block_.p.pair_counter != nullptr) atomicAdd(block_.p.pair_counter, num_masked_pairs);
  }

 private:
  using Block = HopperForwardBlock<Stored, kColumns>;
  using Shape = HopperForwardShape<kColumns>;
  using ForwardTurns = Turns<Shape::kGroups>;
  static constexpr int kQuads = kHopperKeys / 8;  ///< of either row, a thread has two columns in each
  /// kPlain: of a tile that has begun, with nothing to be masked and no sign to change: nearly all, and a loop of their own.
  enum class StepKind { kAny, kPlain };

  __device__ __forceinline__ void fold_steps() {
    auto& barriers = block_.barriers;
    barriers.keys.wait_until_full(key_stage_);
    read_flags();
    if ((flags_ & PublishedStep::kEnd) != 0) return;
    barriers.queries.wait_until_full(slot_);
    fold_first_step();
    const bool has_plain_steps = block_.p.score_sign == 1.0F;
    while (true) {
      while (has_plain_steps && flags_ == PublishedStep::kNone) fold_step<StepKind::kPlain>();
      if ((flags_ & PublishedStep::kEnd) != 0) break;
      fold_step<StepKind::kAny>();
    }
    softmax_.add_step();
    barriers.values.wait_until_full(value_stage_);
    pin(o_);
    begin_products();
    begin_output<Stored, kColumns>(o_, probabilities_, block_.shared, value_stage_.index);
    wait_for_groups<0>();
    pin(o_);
    store_sums(block_.p, me_, block_.shared.own[slot_.index], softmax_.max, softmax_.sum);
    store_part(block_.p.o, me_, block_.shared.own[slot_.index], o_);
  }

  /// Rows that have seen no key yet hold zeros: these need not be read.
  __device__ __forceinline__ void load_output(const float (&max)[2]) {
    if (__any_sync(0xffffffffU, max[0] != -INFINITY || max[1] != -INFINITY)) {
      load_part(block_.p.o, me_, block_.shared.own[slot_.index], o_);
    } else {
#pragma unroll
      for (int i = 0; i < kColumns / 2; ++i) o_[i / 4][i % 4] = 0.0F;
    }
  }

  /// Of the step whose keys are in `key_stage_`.
  __device__ __forceinline__ void read_flags() { flags_ = flags_of(block_.shared.steps[key_stage_.index]); }

  /// The first step of all, which has no product of a step before to run beside.
  __device__ __forceinline__ void fold_first_step() {
    auto& shared = block_.shared;
    load_sums(block_.p, me_, shared.own[0], softmax_.max, softmax_.sum);
    load_output(softmax_.max);
    pin(scores_);
    begin_products();
    begin_scores<Stored>(scores_, shared, me_.group, 0, 0);
    wait_for_groups<0>();
    pin(scores_);
    finish_scores(block_, me_, scores_, 0, 0, flags_);
    block_.barriers.keys.release({}, me_.is_first_lane);
    if (softmax_.raise_max(scores_, block_.p.score_factor)) rescale_output(o_, softmax_.rescale);
    exponentiate_row<0>();
    exponentiate_row<1>();
    key_stage_.advance();
    block_.barriers.keys.wait_until_full(key_stage_);
    read_flags();
    has_values_ = block_.barriers.values.is_full(value_stage_);
  }

  /// Hands in the scores of a step and the product of the step before, when it is the warpgroup's turn, and waits for the scores. Meanwhile the step
  /// before is summed up.
  __device__ __forceinline__ void take_turn(unsigned query_slot) {
    ForwardTurns::wait_for(me_.group);
    pin(scores_);
    pin(o_);
    begin_products();
    begin_scores<Stored>(scores_, block_.shared, me_.group, query_slot, key_stage_.index);
    if (!has_values_) block_.barriers.values.wait_until_full(value_stage_);
    begin_products();
    begin_output<Stored, kColumns>(o_, probabilities_, block_.shared, value_stage_.index);
    ForwardTurns::pass(me_.group);
    softmax_.add_step();
    wait_for_groups<1>();
    pin(scores_);
  }

  /// Barriers are asked early whether they are open: the answer takes time, in which there is other work.
  template <StepKind kKind>
  __device__ __forceinline__ void fold_step() {
    const auto& p = block_.p;
    auto& shared = block_.shared;
    auto& barriers = block_.barriers;
    const bool begins_tile = kKind == StepKind::kAny && (flags_ & PublishedStep::kBeginsTile) != 0;
    auto next_slot = slot_;
    float next_max[2], next_sum[2];
    if (begins_tile) {
      next_slot.advance();
      barriers.queries.wait_until_full(next_slot);
      query_slot_ = uniform(static_cast<unsigned>(next_slot.index));
      load_sums(p, me_, shared.own[next_slot.index], next_max, next_sum);
    }
    take_turn(query_slot_);
    if constexpr (kKind == StepKind::kAny) finish_scores(block_, me_, scores_, next_slot.index, key_stage_.index, flags_);
    if (begins_tile) {
      store_sums(p, me_, shared.own[slot_.index], softmax_.max, softmax_.sum);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        softmax_.max[half] = next_max[half];
        softmax_.sum[half] = next_sum[half];
      }
    }
    barriers.keys.release(key_stage_, me_.is_first_lane);
    key_stage_.advance();
    const bool has_keys = barriers.keys.is_full(key_stage_);
    exponentiate_ahead();
    const bool rises = softmax_.raise_max(scores_, p.score_factor);
    if (rises) exponentiate_ahead();
    exponentiate_in_place<0, Shape::kQuadsAhead, kQuads>();
    exponentiate_in_place<1, 0, Shape::kQuadsBeforeWait>();
    const auto last_value_stage = value_stage_;
    value_stage_.advance();
    has_values_ = barriers.values.is_full(value_stage_);
    if constexpr (kKind == StepKind::kPlain) {
      pin(scores_);
      // A branch also keeps the assembler from waiting for the product before the exponentials.
      if (!has_keys) barriers.keys.wait_until_full(key_stage_);
    }
    wait_for_groups<0>();
    pin(o_);
    barriers.values.release(last_value_stage, me_.is_first_lane);
    if (begins_tile) {
      store_part(p.o, me_, shared.own[slot_.index], o_);
      barriers.queries.release(slot_, me_.is_first_lane);
      slot_ = next_slot;
      load_output(next_max);
    }
    if (rises) rescale_output(o_, softmax_.rescale);
    // Not before the queries of the tile before were released: the next step's tile may be waiting for their room.
    if (kKind == StepKind::kAny && !has_keys) barriers.keys.wait_until_full(key_stage_);
    read_flags();
    exponentiate_in_place<1, Shape::kQuadsBeforeWait, kQuads>();
    round_probabilities();
  }

  /// Two columns of the thread's row `half`.
  __device__ __forceinline__ std::uint32_t& probability(int n, int half) { return probabilities_[n / 2][2 * (n % 2) + half]; }

  /// Probabilities that hold if no maximum rises: the scores stay, so that they can be had again.
  __device__ __forceinline__ void exponentiate_ahead() {
    softmax_.template exponentiate<0, 0, Shape::kQuadsAhead>(scores_, block_.p.score_factor,
                                                             [&](int n, float a, float b) { ahead_[n] = round_pair<Stored>(a, b); });
    // Here, not where they are used.
#pragma unroll
    for (int n = 0; n < Shape::kQuadsAhead; ++n) asm volatile("" : "+r"(ahead_[n]));
  }
  template <int kHalf, int kBegin, int kEnd>
  __device__ __forceinline__ void exponentiate_in_place() {
    softmax_.template exponentiate<kHalf, kBegin, kEnd>(scores_, block_.p.score_factor, [&](int n, float a, float b) {
      scores_[n][2 * kHalf] = a;
      scores_[n][2 * kHalf + 1] = b;
    });
  }
  template <int kHalf>
  __device__ __forceinline__ void exponentiate_row() {
    softmax_.template exponentiate<kHalf, 0, kQuads>(scores_, block_.p.score_factor,
                                                     [&](int n, float a, float b) { probability(n, kHalf) = round_pair<Stored>(a, b); });
  }

  /// The step's probabilities, when those of the step before have been used.
  __device__ __forceinline__ void round_probabilities() {
    // 0, for there are fewer than 8 groups, but the assembler cannot know: it would round into the registers of probabilities while products still
    // read them.
    const unsigned zero = me_.group >> 3;
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
      probability(n, 0) = n < Shape::kQuadsAhead ? ahead_[n] | zero : round_pair<Stored>(scores_[n][0], scores_[n][1]);
      probability(n, 1) = round_pair<Stored>(scores_[n][2], scores_[n][3]);
    }
  }

  const Block& block_;
  const Consumer me_;
  typename Block::StagePlace key_stage_, value_stage_;  ///< of the step's keys, and of the values of the step before
  typename Block::SlotPlace slot_;                      ///< of the tile's queries
  unsigned query_slot_ = 0;                             ///< its index, as the compiler knows to be uniform
  unsigned flags_ = 0;                                  ///< of the step that comes next
  bool has_values_ = false;
  HopperScores scores_;
  HopperProbabilities probabilities_;  ///< of the step before
  std::uint32_t ahead_[kQuads];        ///< the first row's probabilities that were computed ahead, rounded
  HopperOutput<kColumns> o_;
  HopperSoftmax softmax_;
};

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
    HopperForwardConsumer<Stored, kColumns>(block).run();
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

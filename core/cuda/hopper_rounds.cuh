#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/hopper_backward.cuh"

// The backward pass in rounds (score_gradients.h), one persistent launch: thread blocks claim items, tiles of keys (the kernel of keys, which leaves
// score gradients behind) or tiles of queries, whose part is one product, dQ += dS K, of what was left.
//
//   producer warp | claims a tile, waits until its round may begin | own K, V | Q, dO of step 0 -> stage 0 | ... | or: K, dS of step 0 -> stage 0 |
//   ... consumers     | as in hopper_backward.cuh, dS^T to shared memory and from there to its block          | or: dQ += dS K | ...
namespace hilbertring {

inline constexpr int kRoundColumns = 128;
inline constexpr unsigned kRoundThreads = (kBackwardGroups + 1) * kWarpgroupThreads;

template <class Stored>
using KeyBlock = HopperBackwardBlock<Owner::kKeys, Stored, kRoundColumns, true>;
using RoundShared = HopperBackwardShared<Owner::kKeys, kRoundColumns, true>;
using RoundPlace = RingPlace<kBackwardStages>;
static_assert(sizeof(RoundShared::other_data[0][1]) == kBackwardGroups * kScoreBlockBytes);

template <class Stored>
struct HopperRoundsParameters {
  HopperBackwardParameters<Stored> of_keys;
  MappedRows<Stored> keys;  ///< in tiles of 64
  WorkView query_work;
  DeviceRows<float> dq;
  ScoreGradientRounds rounds;
};

// ---- What thread blocks tell each other.

/// A warp of consumers has done its part of an item: its score gradients lie in memory, or have been used up.
__device__ inline void arrive_at_round(std::int32_t* counter) {
  asm volatile("fence.proxy.async;\nred.release.gpu.global.add.s32 [%0], 1;" ::"l"(counter) : "memory");
}
__device__ inline void wait_for_round(const std::int32_t* counter, std::int32_t num_arrivals) {
  constexpr unsigned kNanoseconds = 200;
  while (true) {
    std::int32_t arrived;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(arrived) : "l"(counter) : "memory");
    if (arrived >= num_arrivals) break;
    __nanosleep(kNanoseconds);
  }
  asm volatile("fence.proxy.async;" ::: "memory");
}

inline constexpr std::int32_t kArrivalsOfItem = 4 * kBackwardGroups;

__device__ inline std::int32_t* key_arrivals(const ScoreGradientRounds& rounds, std::int32_t round) { return rounds.counters + 1 + round; }
__device__ inline std::int32_t* query_arrivals(const ScoreGradientRounds& rounds, std::int32_t round) {
  return rounds.counters + 1 + rounds.num_rounds + round;
}

/// Until the score gradients that the item reads are there, or those that it writes over are no longer needed. One thread.
__device__ inline void wait_for_turn(const ScoreGradientRounds& rounds, const RoundItem& item) {
  if (item.is_of_queries) {
    wait_for_round(key_arrivals(rounds, item.round), rounds.key_tiles_in_round * kArrivalsOfItem);
  } else if (item.round >= ScoreGradientRounds::kSlots) {
    wait_for_round(query_arrivals(rounds, item.round - ScoreGradientRounds::kSlots), rounds.query_tiles_in_round * kArrivalsOfItem);
  }
}

// ---- The producer: its whole warp.

/// Hands the consumers the steps of a tile of queries: in a stage, keys come first and then the score gradients of both warpgroups.
template <class Stored>
__device__ bool produce_query_tile(const KeyBlock<Stored>& block, const HopperRoundsParameters<Stored>& p, const RoundItem& item, RoundPlace& stage) {
  auto& shared = block.shared;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  Walk<Owner::kQueries, kHopperBackwardOthers> walk;
  walk.start(own_tile(p.query_work, p.query_work.tiles[item.tile], kHopperBackwardOwnRows));
  const std::int32_t query_plane = static_cast<std::int32_t>(walk.own.batch * p.dq.heads) + walk.own.head;
  const std::int32_t key_plane = static_cast<std::int32_t>(walk.own.batch * p.keys.rows.heads) + walk.own.head / p.query_work.heads_per_kv_head;
  Step step = walk.next(p.query_work);
  if (step.tile_class == TileClass::kEmpty) return false;
  if (is_leader) shared.own = walk.own;
  for (; step.tile_class != TileClass::kEmpty; step = walk.next(p.query_work)) {
    const TileSource from = tile_source(run_source(p.query_work.meetings[step.meeting].rows, key_plane), step.first_index, step.num_rows);
    const std::int64_t score_block = p.rounds.block_of(item.round, query_plane, walk.own.first_row, from.index);
    block.barriers.others.wait_until_empty(stage);
    const std::uint32_t full = block.barriers.others.full_at(stage);
    if (is_leader) {
      shared.steps[stage.index].kind = StepKind::kFold;
      constexpr int kBytes = kBackwardGroups * kScoreBlockBytes;
      arrive_expecting(full, kBytes);
      copy_bytes(shared_address(shared.other_data[stage.index][1]), p.rounds.slots + score_block * kScoreBlockBytes, kBytes, full);
    }
    load_tile<kHopperBackwardOthers, kRoundColumns>(shared_address(shared.other_data[stage.index][0]), p.keys, from, full);
    arrive(full);  // every lane, as where it brings lse2 and delta
    stage.advance();
    __syncwarp();
  }
  return true;
}

template <class Stored>
__device__ bool produce_item(const KeyBlock<Stored>& block, const HopperRoundsParameters<Stored>& p, const RoundItem& item, RoundPlace& stage) {
  if (threadIdx.x % kWarpThreads == 0) {
    wait_for_turn(p.rounds, item);
    block.shared.item = item;
  }
  __syncwarp();
  if (item.is_of_queries) return produce_query_tile(block, p, item, stage);
  const auto score_block = [&](const OwnTile& own, const TileSource& from) {
    return p.rounds.block_of(item.round, from.plane, from.index, own.first_row);
  };
  return produce_tile(block, p.of_keys.work.tiles[item.tile], stage, score_block);
}

template <class Stored>
__device__ void produce_items(const KeyBlock<Stored>& block, const HopperRoundsParameters<Stored>& p, std::uint64_t* own_empty) {
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  RoundPlace stage;
  std::uint32_t own_parity = 1;
  while (true) {
    std::int32_t index = is_leader ? atomicAdd(p.rounds.counters, 1) : 0;
    index = __shfl_sync(0xffffffffU, index, 0);
    if (index >= p.rounds.num_items()) break;
    const RoundItem item = round_item(p.rounds, index);
    wait_for(shared_address(own_empty), own_parity);
    if (produce_item(block, p, item, stage)) {
      own_parity ^= 1U;
      produce_end(block, StepKind::kEndOfTile, stage);
    } else if (is_leader) {
      std::int32_t* const counter = item.is_of_queries ? query_arrivals(p.rounds, item.round) : key_arrivals(p.rounds, item.round);
      for (int i = 0; i < kArrivalsOfItem; ++i) arrive_at_round(counter);
    }
  }
  produce_end(block, StepKind::kEnd, stage);
}

// ---- The consumers.

/// Where a warp leaves its 16 rows of a block of score gradients: in shared memory, whence they go to their place in the block.
class ScoreGradientRows {
 public:
  __device__ ScoreGradientRows(RoundShared& shared, const ScoreGradientRounds& rounds, const Consumer& me) : is_first_lane_(me.is_first_lane) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
    const int warp = (static_cast<int>(threadIdx.x) - kWarpgroupThreads) / kWarpThreads;
    first_ = shared_address(shared.score_gradients) + static_cast<std::uint32_t>(warp * kRowsOfWarp * kPitch);
    // Matrices of a 16 x 16 part: rows 0 to 7 and 8 to 15 of its left piece, then of its right one.
    const int row = lane % kRowsOfWarp;
    mine_ = first_ + static_cast<std::uint32_t>(row * kPitch + ((lane / kRowsOfWarp) ^ (row % 8)) * kPieceBytes);
    to_ = rounds.slots + me.group * rounds.num_query_blocks * kScoreBlockBytes + warp % 4 * kRowsOfWarp * kPitch;
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

 private:
  static constexpr int kRowsOfWarp = 16;
  static constexpr int kPitch = 128;

  std::uint32_t first_, mine_;
  std::byte* to_;
  bool is_first_lane_;
};

/// dQ += dS K over a tile's steps, the first of which is in `stage`; leaves there what follows the last.
template <class Stored>
__device__ __forceinline__ void sum_query_tile(const KeyBlock<Stored>& block, const DeviceRows<float>& rows, const Consumer& me, RoundPlace& stage) {
  using KeyTile = RoundShared::OtherTileLayout;
  using ScoreTile = PanelTile<kScoreBlockRows, kScoreBlockRows>;
  auto& shared = block.shared;
  auto& ring = block.barriers.others;
  RoundPlace last;
  float dq[kRoundColumns / 8][4];
  load_part(rows, me, shared.own, dq);
  for (bool is_first = true;; is_first = false) {
    const SharedFactor scores =
        ScoreTile::by_columns(shared_address(shared.other_data[stage.index][1]) + me.group * static_cast<unsigned>(kScoreBlockBytes));
    const SharedFactor keys = KeyTile::by_columns(shared_address(shared.other_data[stage.index][0]));
    pin(dq);
    begin_products();
#pragma unroll
    for (int step = 0; step < kHopperBackwardOthers / 16; ++step) {
      multiply_add_shared<Stored, true, true>(dq, scores.moved_by(ScoreTile::row_step(step)), keys.moved_by(KeyTile::row_step(step)), true);
    }
    end_group();
    wait_for_groups<1>();
    if (!is_first) ring.release(last, me.is_first_lane);
    last = stage;
    stage.advance();
    ring.wait_until_full(stage);
    if (__any_sync(0xffffffffU, shared.steps[stage.index].kind != StepKind::kFold)) break;
  }
  wait_for_groups<0>();
  ring.release(last, me.is_first_lane);
  pin(dq);
  store_part(rows, me, shared.own, dq);
}

template <class Stored>
__device__ __forceinline__ void consume_items(const KeyBlock<Stored>& block, const HopperRoundsParameters<Stored>& p, std::uint64_t* own_empty) {
  const Consumer me;
  auto& shared = block.shared;
  const ScoreGradientRows rows(shared, p.rounds, me);
  RoundPlace stage;
  std::uint32_t own_parity = 0;
  while (true) {
    block.barriers.others.wait_until_full(stage);
    if (__any_sync(0xffffffffU, shared.steps[stage.index].kind == StepKind::kEnd)) return;
    const RoundItem item = shared.item;
    std::int32_t* counter = nullptr;
    if (__any_sync(0xffffffffU, item.is_of_queries)) {
      sum_query_tile(block, p.dq, me, stage);
      counter = query_arrivals(p.rounds, item.round);
    } else {
      fold_key_tile(block, me, stage, own_parity, rows);
      own_parity ^= 1U;
      if (me.is_first_lane) wait_for_copies_out();
      counter = key_arrivals(p.rounds, item.round);
    }
    __syncwarp();
    if (me.is_first_lane) {
      arrive_at_round(counter);
      arrive(shared_address(own_empty));
    }
    block.barriers.others.release(stage, me.is_first_lane);
    stage.advance();
  }
}

/// Empty but in code for sm_90a.
template <class Stored>
__global__ void __launch_bounds__(kRoundThreads, 1) hopper_rounds(const __grid_constant__ HopperRoundsParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Block = KeyBlock<Stored>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperBackwardBarriers barriers;
  __shared__ std::uint64_t own_empty;
  const Block block{p.of_keys, *reinterpret_cast<RoundShared*>(shared_bytes), barriers};
  if (threadIdx.x == 0) {
    init_barrier(shared_address(&own_empty), kArrivalsOfItem);
    barriers.init(Block::kScalarArrivals);
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    shrink_registers<Block::kProducerRegisters>();
    if (threadIdx.x < kWarpThreads) produce_items(block, p, &own_empty);
  } else {
    grow_registers<Block::kConsumerRegisters>();
    consume_items(block, p, &own_empty);
  }
#endif
}

}  // namespace hilbertring

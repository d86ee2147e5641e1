#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/hopper_backward.cuh"

// The backward pass in rounds (score_gradients.h), in one launch: each thread block claims the next item, a tile of keys (and does what the kernel of
// keys does, but leaves score gradients behind) or a tile of queries, whose part is one product, dQ += dS K, of what was left. A block ends with its
// item: then other kernels, such as those of messages, get their turn.
//
//   producer warp | claims, waits until its round may begin | own K, V | Q, dO of step 0 -> stage 0 | ...    or: K, dS of step 0 -> stage 0 | ...
//   consumers     |                                         | as in hopper_backward.cuh, dS^T to memory      or: dQ += dS K | ...
namespace hilbertring {

inline constexpr unsigned kRoundThreads = (kBackwardGroups + 1) * kWarpgroupThreads;

/// Rounds are for more than 64 columns (has_backward_rounds): with fewer, score gradients weigh as much as what their products save.
inline constexpr int kRoundColumns = 128;
static_assert(kBackwardOthers<kRoundColumns> == kScoreBlockRows);

template <class Stored, int kColumns>
using KeyBlock = HopperBackwardBlock<Owner::kKeys, Stored, kColumns>;
template <int kColumns>
using RoundShared = HopperBackwardShared<Owner::kKeys, kColumns>;
using RoundPlace = RingPlace<kBackwardStages>;

/// Where a stage of an item of queries has its keys, in what an item of keys has its own rows in, and its score gradients, for both warpgroups.
template <int kColumns>
__device__ __forceinline__ std::uint32_t keys_of_stage(const RoundShared<kColumns>& shared, int stage) {
  constexpr int kTileBytes = RoundShared<kColumns>::OtherTileLayout::kNumBytes;
  static_assert(kBackwardStages * kTileBytes <= sizeof(shared.own_data));
  return shared_address(shared.own_data[0]) + static_cast<unsigned>(stage * kTileBytes);
}
template <int kColumns>
__device__ __forceinline__ std::uint32_t scores_of_stage(const RoundShared<kColumns>& shared, int stage) {
  static_assert(kBackwardGroups * kScoreBlockBytes <= sizeof(shared.other_data[0]));
  return shared_address(shared.other_data[stage][0]);
}

template <class Stored>
struct HopperRoundsParameters {
  HopperBackwardParameters<Stored> of_keys;
  MappedRows<Stored> keys;  ///< in tiles of 64
  WorkView query_work;
  DeviceRows<float> dq;
  ScoreGradientRounds rounds;
};

// ---- What thread blocks tell each other.

/// A warp of consumers has done its part of an item: its score gradients lie in memory, or have been used up. One thread, behind a __syncwarp.
__device__ inline void arrive_at_round(std::int32_t* counter) {
  __threadfence();
  asm volatile("red.release.gpu.global.add.s32 [%0], 1;" ::"l"(counter) : "memory");
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
__device__ inline void wait_for_rounds_before(const ScoreGradientRounds& rounds, const RoundItem& item) {
  if (item.is_of_queries) {
    wait_for_round(key_arrivals(rounds, item.round), rounds.key_tiles_in_round * kArrivalsOfItem);
  } else if (item.round >= ScoreGradientRounds::kSlots) {
    wait_for_round(query_arrivals(rounds, item.round - ScoreGradientRounds::kSlots), rounds.query_tiles_in_round * kArrivalsOfItem);
  }
}

// ---- The producer: its whole warp.

/// What an own tile meets in a meeting: tiles of others from row `begin` of the meeting on, to `end`. All rows are neighbours here and causality, if
/// any, goes by positions: little to reckon step by step, since the producer has few registers and no time. Values, not references into memory, which
/// would be read again behind every barrier.
struct RoundMeeting {
  std::int32_t begin, end;
  std::int32_t begin_of_full, end_of_full;  ///< rows of tiles of which every pair is allowed
  std::int32_t count, first_row, stride_index, head_offset;

  template <Owner kOwner>
  __device__ static RoundMeeting of(const WorkView& work, const OwnTile& own, std::int32_t index) {
    const Meeting& meeting = work.meetings[index];
    RoundMeeting of{.begin = 0,
                    .end = meeting.rows.count,
                    .begin_of_full = 0,
                    .end_of_full = meeting.rows.count,
                    .count = meeting.rows.count,
                    .first_row = static_cast<std::int32_t>(meeting.rows.first_row),
                    .stride_index = meeting.rows.stride_index,
                    .head_offset = meeting.head_offset};
    if (work.causal == Causal::kPosition) {
      // How far the own tile lies behind the others, at most a chunk's length either way.
      const std::int64_t far = std::int64_t{of.count} + own.num_rows;
      const auto gap = static_cast<std::int32_t>(max(min(own.first_position - meeting.rows.first_position, far), -far));
      if constexpr (kOwner == Owner::kQueries) {
        of.end = min(of.count, gap + own.num_rows);
        of.end_of_full = min(of.count, gap + 1);
      } else {
        of.begin = max(gap, 0) / kScoreBlockRows * kScoreBlockRows;
        of.begin_of_full = gap + own.num_rows - 1;
      }
    }
    if (own.num_rows < kHopperBackwardOwnRows) of.end_of_full = 0;
    return of;
  }
  __device__ Step step(std::int32_t meeting, std::int32_t first) const {
    const bool is_full = first >= begin_of_full && first + kScoreBlockRows <= end_of_full;
    return {is_full ? TileClass::kFull : TileClass::kPartial, meeting, first, min(kScoreBlockRows, count - first)};
  }
  __device__ TileSource source(std::int32_t plane, const Step& step) const {
    return {plane, 0, first_row + step.first_index, 1, stride_index, step.num_rows};
  }
};

/// Q, dO, lse2 and delta of a step, by the copy engine if it can. One arrives at the stage's barrier.
template <class Stored, int kColumns>
__device__ void load_queries(const KeyBlock<Stored, kColumns>& block, const BackwardStep& step, const TileSource& from, const RoundPlace& stage) {
  using Tile = typename RoundShared<kColumns>::OtherTileLayout;
  constexpr int kScalarBytes = kScoreBlockRows * static_cast<int>(sizeof(float));
  auto& shared = block.shared;
  const auto& p = block.p;
  const std::uint32_t full = block.barriers.others.full_at(stage);
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  const std::int64_t first_scalar = from.plane * p.lse2.rows + from.index;
  const float* const scalars[2] = {p.lse2.data + first_scalar, p.delta.data + first_scalar};
  block.barriers.others.wait_until_empty(stage);
  if (is_leader) shared.steps[stage.index] = step;
  // By address: heads that travel by themselves may begin anywhere.
  const bool are_aligned = (reinterpret_cast<std::uintptr_t>(scalars[0]) | reinterpret_cast<std::uintptr_t>(scalars[1])) % kPieceBytes == 0;
  if (is_fetchable<kScoreBlockRows>(from) && are_aligned) {
    if (!is_leader) return;
    arrive_expecting(full, 2 * Tile::kNumBytes + 2 * kScalarBytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      fetch_tile<kScoreBlockRows, kColumns>(shared_address(shared.other_data[stage.index][i]), p.other[i], from, full);
    }
    copy_bytes(shared_address(shared.lse2[stage.index]), scalars[0], kScalarBytes, full);
    copy_bytes(shared_address(shared.delta[stage.index]), scalars[1], kScalarBytes, full);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < 2; ++i) copy_tile<kScoreBlockRows, kColumns, 1>(shared_address(shared.other_data[stage.index][i]), p.other[i], from);
  copy_scalars(block, from, stage);
  arrive_after_copies_of_warp(full);
}

/// K and V of a tile. One arrives at the barrier.
template <class Stored, int kColumns>
__device__ void load_own_keys(const KeyBlock<Stored, kColumns>& block, const TileSource& from) {
  using Tile = typename RoundShared<kColumns>::OwnTileLayout;
  auto& shared = block.shared;
  const auto& p = block.p;
  const std::uint32_t full = shared_address(&block.barriers.own_full);
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  if (is_fetchable<kHopperBackwardOwnRows>(from)) {
    if (!is_leader) return;
    arrive_expecting(full, 2 * Tile::kNumBytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) fetch_tile<kHopperBackwardOwnRows, kColumns>(shared_address(shared.own_data[i]), p.own[i], from, full);
    return;
  }
#pragma unroll 1
  for (int i = 0; i < 2; ++i) copy_tile<kHopperBackwardOwnRows, kColumns, 1>(shared_address(shared.own_data[i]), p.own[i], from);
  arrive_after_copies_of_warp(full);
}

/// Hands the consumers the steps of a tile of keys.
template <class Stored, int kColumns>
__device__ void produce_key_tile(const KeyBlock<Stored, kColumns>& block, const HopperRoundsParameters<Stored>& p, const RoundItem& item,
                                 RoundPlace& stage) {
  const WorkView& work = p.of_keys.work;
  const OwnTile& own = block.shared.own;
  const std::int32_t key_plane = own.batch * static_cast<std::int32_t>(p.keys.rows.heads) + own.head;
  const std::int32_t blocks_to_keys = p.rounds.blocks_to_keys(static_cast<std::int32_t>(own.first_row));
  bool has_own = false;
  for (std::int32_t index = own.first_meeting; index < own.end_meeting; ++index) {
    const auto meeting = RoundMeeting::of<Owner::kKeys>(work, own, index);
    if (meeting.begin >= meeting.end) continue;
    if (!has_own) {
      const RowRun& run = work.own_runs[work.tiles[item.tile].own_run].rows;
      load_own_keys(block, {key_plane, 0, static_cast<std::int32_t>(own.first_row), 1, run.stride_index, own.num_rows});
    }
    has_own = true;
    const std::int32_t query_plane =
        own.batch * static_cast<std::int32_t>(p.of_keys.lse2.heads) + own.head * work.heads_per_kv_head + meeting.head_offset;
    std::int32_t score_block =
        p.rounds.first_block(item.round, query_plane) + blocks_to_keys + p.rounds.blocks_to_queries(meeting.first_row + meeting.begin);
    for (std::int32_t first = meeting.begin; first < meeting.end; first += kScoreBlockRows) {
      const Step step = meeting.step(index, first);
      load_queries(block, {step, StepKind::kFold, score_block}, meeting.source(query_plane, step), stage);
      ++score_block;
      stage.advance();
      __syncwarp();
    }
  }
}

/// K and score gradients, for both warpgroups, of a step. One arrives at the stage's barrier.
template <class Stored, int kColumns>
__device__ void load_keys(const KeyBlock<Stored, kColumns>& block, const MappedRows<Stored>& keys, const TileSource& from,
                          const std::byte* score_gradients, const RoundPlace& stage) {
  using Tile = typename RoundShared<kColumns>::OtherTileLayout;
  constexpr int kScoreBytes = kBackwardGroups * kScoreBlockBytes;
  auto& shared = block.shared;
  const std::uint32_t full = block.barriers.others.full_at(stage);
  const std::uint32_t to = keys_of_stage<kColumns>(shared, stage.index);
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  const bool is_whole = is_fetchable<kScoreBlockRows>(from);
  block.barriers.others.wait_until_empty(stage);
  if (!is_whole) {
    copy_tile<kScoreBlockRows, kColumns, 1>(to, keys, from);
    wait_for_copies();
    publish_to_async_proxy();
    __syncwarp();
  }
  if (!is_leader) return;
  shared.steps[stage.index].kind = StepKind::kFold;
  arrive_expecting(full, kScoreBytes + (is_whole ? Tile::kNumBytes : 0));
  copy_bytes_once(scores_of_stage<kColumns>(shared, stage.index), score_gradients, kScoreBytes, full);
  if (is_whole) fetch_tile<kScoreBlockRows, kColumns>(to, keys, from, full);
}

/// Hands the consumers the steps of a tile of queries.
template <class Stored, int kColumns>
__device__ void produce_query_tile(const KeyBlock<Stored, kColumns>& block, const HopperRoundsParameters<Stored>& p, const RoundItem& item,
                                   RoundPlace& stage) {
  const WorkView& work = p.query_work;
  const OwnTile& own = block.shared.own;
  const std::int32_t query_plane = own.batch * static_cast<std::int32_t>(p.dq.heads) + own.head;
  const std::int32_t key_plane = own.batch * static_cast<std::int32_t>(p.keys.rows.heads) + own.head / work.heads_per_kv_head;
  const std::int32_t first_block =
      p.rounds.first_block(item.round, query_plane) + p.rounds.blocks_to_queries(static_cast<std::int32_t>(own.first_row));
  const std::byte* const score_gradients = p.rounds.slots + std::int64_t{first_block} * kScoreBlockBytes;
  for (std::int32_t index = own.first_meeting; index < own.end_meeting; ++index) {
    const auto meeting = RoundMeeting::of<Owner::kQueries>(work, own, index);
    const std::byte* from = score_gradients + std::int64_t{p.rounds.blocks_to_keys(meeting.first_row)} * kScoreBlockBytes;
    for (std::int32_t first = 0; first < meeting.end; first += kScoreBlockRows) {
      load_keys(block, p.keys, meeting.source(key_plane, meeting.step(index, first)), from, stage);
      from += std::int64_t{p.rounds.queries.num_blocks} * kScoreBlockBytes;
      stage.advance();
      __syncwarp();
    }
  }
}

template <class Stored, int kColumns>
__device__ void produce_item(const KeyBlock<Stored, kColumns>& block, const HopperRoundsParameters<Stored>& p) {
  auto& shared = block.shared;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  std::int32_t index = is_leader ? atomicAdd(p.rounds.counters, 1) : 0;
  index = __shfl_sync(0xffffffffU, index, 0);
  const RoundItem item = round_item(p.rounds, index);
  if (is_leader) {
    const WorkView& work = item.is_of_queries ? p.query_work : p.of_keys.work;
    wait_for_rounds_before(p.rounds, item);
    shared.item = item;
    shared.own = own_tile(work, work.tiles[item.tile], kHopperBackwardOwnRows);
  }
  __syncwarp();
  RoundPlace stage;
  item.is_of_queries ? produce_query_tile(block, p, item, stage) : produce_key_tile(block, p, item, stage);
  block.barriers.others.wait_until_empty(stage);
  if (!is_leader) return;
  shared.steps[stage.index].kind = StepKind::kEnd;
  arrive(block.barriers.others.full_at(stage));
}

// ---- The consumers.

/// A thread's place in a block of score gradients. Of a key's row it has 2 of every 8 queries, which it stores as two pieces of 16 bytes: piece
/// 4 h + t of a row holds queries 8 n + 2 t and 8 n + 2 t + 1 for n = 4 h to 4 h + 3 (t: the thread among the four that share the row).
class ScoreGradientRows {
 public:
  __device__ ScoreGradientRows(const ScoreGradientRounds& rounds, const Consumer& me) {
    const int row = me.first_row % kScoreBlockRows;
    first_ = rounds.slots + me.group * rounds.queries.num_blocks * std::int64_t{kScoreBlockBytes} + row * kPitch +
             ((me.first_column / 2) ^ (row % 8)) * kPieceBytes;
  }
  __device__ __forceinline__ void leave(const BackwardFactor<kRoundColumns>& gradients, std::int32_t block) const {
    std::byte* const to = first_ + std::int64_t{block} * kScoreBlockBytes;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::byte* const piece = reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(to) ^ static_cast<unsigned>(4 * h * kPieceBytes));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        __stcs(reinterpret_cast<uint4*>(piece + i * kRowGap * kPitch),
               make_uint4(gradients[2 * h][i], gradients[2 * h][i + 2], gradients[2 * h + 1][i], gradients[2 * h + 1][i + 2]));
      }
    }
  }

  /// As rows of the product dS K: who has dQ's rows `first_row` and, kGap later, another one.
  static constexpr int kGap = 2;
  __device__ static Consumer owner_of_queries(const Consumer& me) {
    Consumer owner = me;
    const int row = me.first_row % 16, warp = me.first_row / 16 % 4;
    owner.first_row = me.first_row / 64 * 64 + warp / 2 * 32 + row / 2 * 8 + warp % 2 * 4 + row % 2;
    return owner;
  }

 private:
  static constexpr int kPitch = 128;

  std::byte* first_;
};

/// dQ += dS K over the steps, the first of which is in `stage`.
template <class Stored, int kColumns>
__device__ __forceinline__ void sum_query_tile(const KeyBlock<Stored, kColumns>& block, const DeviceRows<float>& rows, const Consumer& me,
                                               RoundPlace& stage) {
  using KeyTile = typename RoundShared<kColumns>::OtherTileLayout;
  using ScoreTile = PanelTile<kScoreBlockRows, kScoreBlockRows>;
  auto& shared = block.shared;
  auto& ring = block.barriers.others;
  const Consumer owner = ScoreGradientRows::owner_of_queries(me);
  RoundPlace last;
  float dq[kColumns / 8][4];
  load_part<ScoreGradientRows::kGap>(rows, owner, shared.own, dq);
  for (bool is_first = true;; is_first = false) {
    const SharedFactor scores =
        ScoreTile::by_columns(scores_of_stage<kColumns>(shared, stage.index) + me.group * static_cast<unsigned>(kScoreBlockBytes));
    const SharedFactor keys = KeyTile::by_columns(keys_of_stage<kColumns>(shared, stage.index));
    pin(dq);
    begin_products();
#pragma unroll
    for (int step = 0; step < kScoreBlockRows / 16; ++step) {
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
  pin(dq);
  store_part<ScoreGradientRows::kGap>(rows, owner, shared.own, dq);
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume_item(const KeyBlock<Stored, kColumns>& block, const HopperRoundsParameters<Stored>& p) {
  const Consumer me;
  RoundPlace stage;
  const bool is_there = has_steps(block, stage);
  const RoundItem item = block.shared.item;
  if (is_there) {
    if (__any_sync(0xffffffffU, item.is_of_queries)) {
      sum_query_tile(block, p.dq, me, stage);
    } else {
      fold_key_tile(block, me, stage, ScoreGradientRows(p.rounds, me));
    }
  }
  __syncwarp();
  if (me.is_first_lane) arrive_at_round(item.is_of_queries ? query_arrivals(p.rounds, item.round) : key_arrivals(p.rounds, item.round));
}

/// Empty but in code for sm_90a.
template <class Stored, int kColumns>
__global__ void __launch_bounds__(kRoundThreads, 1) hopper_rounds(const __grid_constant__ HopperRoundsParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  using Block = KeyBlock<Stored, kColumns>;
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ HopperBackwardBarriers barriers;
  const Block block{p.of_keys, *reinterpret_cast<RoundShared<kColumns>*>(shared_bytes), barriers};
  if (threadIdx.x == 0) barriers.init(1, 1);
  __syncthreads();
  if (threadIdx.x < kWarpgroupThreads) {
    shrink_registers<Block::kProducerRegisters>();
    if (threadIdx.x < kWarpThreads) produce_item(block, p);
  } else {
    grow_registers<Block::kConsumerRegisters>();
    consume_item(block, p);
  }
#endif
}

}  // namespace hilbertring

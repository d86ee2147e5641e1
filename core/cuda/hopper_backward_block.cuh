#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/hopper_consumer.cuh"

// Backward on Hopper (sm_90a): two kernels, one whose thread blocks own queries and add to dQ, one whose blocks own keys and add to dK and dV.
//
//   producer warp | own (Q, dO) or (K, V) | other pair 0 -> stage 0 | other pair 1 -> stage 1 | ...
//   consumers     |      S, dP of step 0 | P, dS | dV += P dO, dK += dS Q, S of step 1 | dP of step 1 | ...
//
// Two warpgroups of consumers have 64 own rows each and hide each other's arithmetic; with 128 columns they take turns, from one step's outer
// products to the next step's inner ones. S^T = K Q^T and dP^T = V dO^T come out as left factors of dV and dK without shared memory.
namespace hilbertring {

inline constexpr int kBackwardGroups = 2;
inline constexpr int kHopperBackwardOwnRows = 64 * kBackwardGroups;
inline constexpr int kBackwardStages = 4;
/// Rows of the other side in a step. Up to 64 columns there are registers for twice as many, and a step's fixed costs weigh twice as much.
constexpr std::int32_t backward_others(std::int64_t num_columns) { return num_columns <= 64 ? 128 : 64; }
template <int kColumns>
inline constexpr int kBackwardOthers = backward_others(kColumns);

template <class Stored>
struct HopperBackwardParameters {
  MappedRows<Stored> own[2];    ///< (Q, dO) or (K, V)
  MappedRows<Stored> other[2];  ///< the other pair
  WorkView work;
  DeviceRows<const float> lse2, delta;
  DeviceRows<float> results[2];  ///< dQ, or dK and dV
  float scale, score_factor;     ///< scale, scale * log2(e)
};

enum class StepKind { kFold, kEnd };

struct BackwardStep {
  Step step;
  StepKind kind;
  std::int32_t score_block;  ///< of the first 64 own rows, where score gradients are kept
};

template <Owner kOwner, int kColumns>
struct HopperBackwardShared {
  using OwnTileLayout = PanelTile<kHopperBackwardOwnRows, kColumns>;
  using OtherTileLayout = PanelTile<kBackwardOthers<kColumns>, kColumns>;

  alignas(1024) std::byte own_data[2][OwnTileLayout::kNumBytes];
  alignas(1024) std::byte other_data[kBackwardStages][2][OtherTileLayout::kNumBytes];
  std::int64_t own_times[kHopperBackwardOwnRows];
  std::int64_t other_times[kBackwardStages][kBackwardOthers<kColumns>];
  float lse2[kBackwardStages][kBackwardOthers<kColumns>], delta[kBackwardStages][kBackwardOthers<kColumns>];  ///< where the others are queries
  BackwardStep steps[kBackwardStages];
  OwnTile own;
  RoundItem item;  ///< whose tile it is, where score gradients are kept
};

struct HopperBackwardBarriers {
  std::uint64_t own_full;
  RingBarriers<kBackwardStages> others;

  __device__ void init(int num_own_arrivals, int num_other_arrivals) {
    init_barrier(shared_address(&own_full), num_own_arrivals);
    others.init(num_other_arrivals, 4 * kBackwardGroups);
    publish_barriers();
  }
};

template <Owner kOwner, class Stored, int kColumns>
struct HopperBackwardBlock {
  using Shared = HopperBackwardShared<kOwner, kColumns>;
  /// For each of two tiles one arrives, and the lanes of the producer that bring lse2 and delta.
  static constexpr int kTileArrivals = 2;
  static constexpr int kScalarArrivals = kOwner == Owner::kKeys ? kWarpThreads : 0;
  static constexpr int kProducerRegisters = kOwner == Owner::kKeys ? 40 : 88;
  static constexpr int kConsumerRegisters = kOwner == Owner::kKeys ? 232 : 208;

  const HopperBackwardParameters<Stored>& p;
  Shared& shared;
  HopperBackwardBarriers& barriers;
};

// ---- The producer: its whole warp.

template <Owner kOwner>
__device__ const std::int64_t* times_of_owner(const WorkView& work) {
  return kOwner == Owner::kQueries ? work.query_times : work.key_times;
}
template <Owner kOwner>
__device__ const std::int64_t* times_of_others(const WorkView& work) {
  return kOwner == Owner::kQueries ? work.key_times : work.query_times;
}

/// lse2 and delta of the stage's queries, asynchronously.
template <Owner kOwner, class Stored, int kColumns>
__device__ void copy_scalars(const HopperBackwardBlock<kOwner, Stored, kColumns>& block, const TileSource& from,
                             const RingPlace<kBackwardStages>& stage) {
  const auto& p = block.p;
  const std::int64_t first_row = static_cast<std::int64_t>(from.plane) * p.lse2.rows + from.residue;
  for (int i = static_cast<int>(threadIdx.x) % kWarpThreads; i < kBackwardOthers<kColumns>; i += kWarpThreads) {
    const bool is_valid = i < from.num_rows;
    const std::int64_t at = first_row + static_cast<std::int64_t>(from.index + (is_valid ? i : 0)) * from.stride;
    copy_async_4(shared_address(&block.shared.lse2[stage.index][i]), p.lse2.data + at, is_valid);
    copy_async_4(shared_address(&block.shared.delta[stage.index][i]), p.delta.data + at, is_valid);
  }
}

template <Owner kOwner, class Stored, int kColumns>
__device__ void load_own(const HopperBackwardBlock<kOwner, Stored, kColumns>& block, const RowRun& run, const OwnTile& own) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const TileSource from =
      tile_source(run_source(run, static_cast<std::int32_t>(own.batch * p.own[0].rows.heads) + own.head), own.first_index, own.num_rows);
  if (threadIdx.x % kWarpThreads == 0) shared.own = own;
  if (p.work.causal == Causal::kSequence) load_times(shared.own_times, times_of_owner<kOwner>(p.work), from);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    load_tile<kHopperBackwardOwnRows, kColumns>(shared_address(shared.own_data[i]), p.own[i], from, shared_address(&block.barriers.own_full));
  }
}

template <Owner kOwner, class Stored, int kColumns>
__device__ void load_others(const HopperBackwardBlock<kOwner, Stored, kColumns>& block, const Step& step, const TileSource& from,
                            const RingPlace<kBackwardStages>& stage) {
  auto& shared = block.shared;
  const auto& p = block.p;
  block.barriers.others.wait_until_empty(stage);
  if (threadIdx.x % kWarpThreads == 0) shared.steps[stage.index] = {step, StepKind::kFold, 0};
  if (p.work.causal == Causal::kSequence && step.tile_class == TileClass::kPartial) {
    load_times(shared.other_times[stage.index], times_of_others<kOwner>(p.work), from);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    load_tile<kBackwardOthers<kColumns>, kColumns>(shared_address(shared.other_data[stage.index][i]), p.other[i], from,
                                                   block.barriers.others.full_at(stage));
  }
  if constexpr (kOwner == Owner::kKeys) {
    copy_scalars(block, from, stage);
    arrive_after_copies(block.barriers.others.full_at(stage));  // each lane, when its own have landed
  }
}

/// Plane of the other side: of the own query head's KV head, or of a query head of the own KV head.
template <Owner kOwner, class Stored>
__device__ std::int32_t other_plane(const HopperBackwardParameters<Stored>& p, const OwnTile& own, const Meeting& meeting) {
  const std::int32_t head =
      kOwner == Owner::kQueries ? own.head / p.work.heads_per_kv_head : own.head * p.work.heads_per_kv_head + meeting.head_offset;
  return static_cast<std::int32_t>(own.batch * p.other[0].rows.heads) + head;
}

template <Owner kOwner, class Stored, int kColumns>
__device__ void produce(const HopperBackwardBlock<kOwner, Stored, kColumns>& block) {
  using Block = HopperBackwardBlock<kOwner, Stored, kColumns>;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  RingPlace<kBackwardStages> stage;
  const WorkTile work_tile = p.work.tiles[blockIdx.x];
  Walk<kOwner, kBackwardOthers<kColumns>> walk;
  walk.start(own_tile(p.work, work_tile, kHopperBackwardOwnRows));
  Step step = walk.next(p.work);
  if (step.tile_class != TileClass::kEmpty) load_own(block, p.work.own_runs[work_tile.own_run].rows, walk.own);
  TileSource run{};
  std::int32_t meeting_of_run = -1;
  while (step.tile_class != TileClass::kEmpty) {
    if (step.meeting != meeting_of_run) {
      const Meeting& meeting = p.work.meetings[step.meeting];
      run = run_source(meeting.rows, other_plane<kOwner>(p, walk.own, meeting));
      meeting_of_run = step.meeting;
    }
    const Step next = walk.next(p.work);
    load_others(block, step, tile_source(run, step.first_index, step.num_rows), stage);
    stage.advance();
    step = next;
    __syncwarp();
  }
  block.barriers.others.wait_until_empty(stage);
  if (is_leader) block.shared.steps[stage.index].kind = StepKind::kEnd;
  __syncwarp();
  for (int i = 0; i < (is_leader ? Block::kTileArrivals : 0) + (Block::kScalarArrivals > 0 ? 1 : 0); ++i)
    arrive(block.barriers.others.full_at(stage));
}

}  // namespace hilbertring

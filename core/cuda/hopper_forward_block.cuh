#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/hopper_softmax.cuh"

// Forward on Hopper (sm_90a). As many thread blocks as multiprocessors; each claims work tiles one after the other:
//
//   producer warp   | claim tile, walk | Q -> slot | K0 | K1 V0 | K2 V1 | ... | next tile's Q | K0 Vn | K1 V0 | ...
//   consumers A     |   S0 = Q K0 | softmax 0 | S1, O += P0 V0 | softmax 1      | S2, O += P1 V1 | softmax 2 | ...
//   consumers B     |     ...           S0    | softmax 0      | S1, O += P0 V0 | softmax 1      | ...
//
// A warpgroup of consumers owns 64 queries. The softmax of one step runs while the product of the step before is added to O, and the warpgroups take
// turns in handing products in, so that one's softmax hides behind another's products. This goes on from tile to tile: the first scores of a tile are
// computed together with the last product of the tile before, and only then O is stored and the next one loaded.
// The state (maximum, which may lag, sum, O) stays in registers from the first step of a tile to its last; every step adds to it in the same way
// whichever call it belongs to, and sums up a row before the row's sum takes it.
namespace hilbertring {

/// A thread has two rows and, of a step's keys, two in each of 16 quads. `kQuadsAhead`: for how many it computes the first row's probabilities while
/// the largest score is still being looked for, as if none rose above the maximum (as many as there are registers for). `kQuadsBeforeWait`: for how
/// many it computes the second row's before it waits for the product of the step before.
template <int kColumns>
struct HopperForwardShape;
template <>
struct HopperForwardShape<64> {
  static constexpr int kGroups = 3, kStages = 4;
  static constexpr int kQuadsAhead = 0, kQuadsBeforeWait = 0;
  static constexpr int kProducerRegisters = 32, kConsumerRegisters = 160;
};
template <>
struct HopperForwardShape<128> {
  static constexpr int kGroups = 2, kStages = 2;
  static constexpr int kQuadsAhead = 16, kQuadsBeforeWait = 8;
  static constexpr int kProducerRegisters = 56, kConsumerRegisters = 224;
};
constexpr TileRows hopper_forward_tile_rows(std::int64_t head_dim) {
  return {.own = 64 * (head_dim <= 64 ? HopperForwardShape<64>::kGroups : HopperForwardShape<128>::kGroups), .other = kHopperKeys};
}

template <class Stored>
struct HopperForwardParameters {
  MappedRows<Stored> q, k, v;
  WorkView work;
  DeviceRows<float> row_max, row_sum, o;
  float score_sign;    ///< +1, -1 or 0: applied to q.k first, so that the factor behind it is positive and keeps maxima maxima
  float score_factor;  ///< > 0: |scale| * log2(e)
  unsigned long long* pair_counter;
  std::int32_t* num_claimed;
  std::int64_t num_tiles;
};

/// A step as consumers see it.
struct PublishedStep {
  enum Flags : unsigned { kNone = 0, kBeginsTile = 1, kIsPartial = 2, kEnd = 4 };

  unsigned flags;  ///< kEnd: there is no more work
  Step step;
};

template <int kColumns>
struct HopperForwardShared {
  using Shape = HopperForwardShape<kColumns>;
  static constexpr int kOwnRows = 64 * Shape::kGroups;
  using QueryTile = PanelTile<kOwnRows, kColumns>;
  using KeyTile = PanelTile<kHopperKeys, kColumns>;

  alignas(1024) std::byte queries[2][QueryTile::kNumBytes];
  alignas(1024) std::byte keys[Shape::kStages][KeyTile::kNumBytes];
  alignas(1024) std::byte values[Shape::kStages][KeyTile::kNumBytes];
  std::int64_t query_times[2][kOwnRows];
  std::int64_t key_times[Shape::kStages][kHopperKeys];
  OwnTile own[2];
  PublishedStep steps[Shape::kStages];
  unsigned long long num_masked_pairs[4 * Shape::kGroups];  ///< allowed ones of partial tiles, by warp
};

template <int kColumns>
struct HopperForwardBarriers {
  RingBarriers<2> queries;
  RingBarriers<HopperForwardShape<kColumns>::kStages> keys, values;

  __device__ void init() {
    constexpr int kConsumerWarps = 4 * HopperForwardShape<kColumns>::kGroups;
    queries.init(1, kConsumerWarps);
    keys.init(1, kConsumerWarps);
    values.init(1, kConsumerWarps);
    publish_barriers();
  }
};

/// A thread block's memory and parameters, for its steps below.
template <class Stored, int kColumns>
struct HopperForwardBlock {
  using Shape = HopperForwardShape<kColumns>;
  using Shared = HopperForwardShared<kColumns>;
  using StagePlace = RingPlace<Shape::kStages>;
  using SlotPlace = RingPlace<2>;

  const HopperForwardParameters<Stored>& p;
  Shared& shared;
  HopperForwardBarriers<kColumns>& barriers;
};

// ---- The producer: all functions are called by its whole warp.

template <class Stored, int kColumns>
__device__ void load_queries(const HopperForwardBlock<Stored, kColumns>& block, const RowRun& run, const OwnTile& own, const RingPlace<2>& slot) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const TileSource from =
      tile_source(run_source(run, static_cast<std::int32_t>(own.batch * p.q.rows.heads) + own.head), own.first_index, own.num_rows);
  block.barriers.queries.wait_until_empty(slot);
  if (threadIdx.x % kWarpThreads == 0) shared.own[slot.index] = own;
  if (p.work.causal == Causal::kSequence) load_times(shared.query_times[slot.index], p.work.query_times, from);
  load_tile<HopperForwardShared<kColumns>::kOwnRows, kColumns>(shared_address(shared.queries[slot.index]), p.q, from,
                                                               block.barriers.queries.full_at(slot));
}

/// Has the rows of O come as far as the second-level cache.
template <class Stored>
__device__ void prefetch_output(const HopperForwardParameters<Stored>& p, const OwnTile& own) {
  for (int i = static_cast<int>(threadIdx.x) % kWarpThreads; i < own.num_rows; i += kWarpThreads) {
    prefetch_bytes(p.o.row(own.batch, own.head, own.first_row + i * own.stride), static_cast<int>(p.o.columns * sizeof(float)));
  }
}

template <class Stored, int kColumns>
__device__ void load_keys(const HopperForwardBlock<Stored, kColumns>& block, const PublishedStep& published, const TileSource& from,
                          const typename HopperForwardBlock<Stored, kColumns>::StagePlace& stage) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  block.barriers.keys.wait_until_empty(stage);
  if (is_leader) shared.steps[stage.index] = published;
  if (p.work.causal == Causal::kSequence && published.step.tile_class == TileClass::kPartial) {
    load_times(shared.key_times[stage.index], p.work.key_times, from);
  }
  load_tile<kHopperKeys, kColumns>(shared_address(shared.keys[stage.index]), p.k, from, block.barriers.keys.full_at(stage));
}

template <class Stored, int kColumns>
__device__ void load_values(const HopperForwardBlock<Stored, kColumns>& block, const TileSource& from,
                            const typename HopperForwardBlock<Stored, kColumns>::StagePlace& stage) {
  block.barriers.values.wait_until_empty(stage);
  load_tile<kHopperKeys, kColumns>(shared_address(block.shared.values[stage.index]), block.p.v, from, block.barriers.values.full_at(stage));
}

/// Values follow a step behind keys, as consumers want them: a stage of values is free only when the next step's scores have been computed. All lanes
/// walk: shared memory would take longer to tell them than they take to find out.
template <class Stored, int kColumns>
__device__ void produce(const HopperForwardBlock<Stored, kColumns>& block) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  auto& shared = block.shared;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  typename Block::SlotPlace slot;
  typename Block::StagePlace key_stage, value_stage;
  TileSource values{};
  unsigned long long num_pairs = 0;
  for (std::int64_t tile = blockIdx.x; tile < p.num_tiles;) {
    // Asked for early: the answer takes as long as a step.
    const int claim = is_leader ? atomicAdd(p.num_claimed, 1) : 0;
    const WorkTile work_tile = p.work.tiles[tile];
    const auto key_plane = static_cast<std::int32_t>(work_tile.batch * p.k.rows.heads) + work_tile.head / p.work.heads_per_kv_head;
    Walk<Owner::kQueries, kHopperKeys> walk;
    walk.start(own_tile(p.work, work_tile, Block::Shared::kOwnRows));
    TileSource run{};
    std::int32_t meeting_of_run = -1;
    bool begins_tile = true;
    for (Step step = walk.next(p.work); step.tile_class != TileClass::kEmpty;) {
      if (step.meeting != meeting_of_run) {
        run = run_source(p.work.meetings[step.meeting].rows, key_plane);
        meeting_of_run = step.meeting;
      }
      const TileSource from = tile_source(run, step.first_index, step.num_rows);
      if (begins_tile) {
        load_queries(block, p.work.own_runs[work_tile.own_run].rows, walk.own, slot);
        slot.advance();
      }
      // All that can be is done before there is room for the keys: what comes between that and their copy holds the products up.
      const Step next = walk.next(p.work);
      const unsigned flags = (begins_tile ? PublishedStep::kBeginsTile : PublishedStep::kNone) |
                             (step.tile_class == TileClass::kPartial ? PublishedStep::kIsPartial : PublishedStep::kNone);
      load_keys(block, {flags, step}, from, key_stage);
      key_stage.advance();
      if (values.num_rows > 0) {
        load_values(block, values, value_stage);
        value_stage.advance();
      }
      values = from;
      if (begins_tile) prefetch_output(p, walk.own);
      if (step.tile_class == TileClass::kFull) num_pairs += static_cast<unsigned>(walk.own.num_rows * step.num_rows);
      begins_tile = false;
      step = next;
      __syncwarp();
    }
    tile = gridDim.x + static_cast<std::int64_t>(__shfl_sync(0xffffffffU, claim, 0));
  }
  if (values.num_rows > 0) load_values(block, values, value_stage);
  block.barriers.keys.wait_until_empty(key_stage);
  if (!is_leader) return;
  if (p.pair_counter != nullptr) atomicAdd(p.pair_counter, num_pairs);
  shared.steps[key_stage.index].flags = PublishedStep::kEnd;
  arrive(block.barriers.keys.full_at(key_stage));
}

}  // namespace hilbertring

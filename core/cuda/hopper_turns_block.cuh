#pragma once

#include "core/cuda/hopper_backward_block.cuh"
#include "core/cuda/turns.h"

// Backward on Hopper (sm_90a) in one kernel, for dense patterns: thread blocks own keys, add to dK and dV in registers, and to dQ in turn (turns.h).
//
//   producer warp | K, V | Q dO 0 | Q dO 1 | Q dO 2 | ...
//   consumers     | S 0, dP 0 | P, dS | dV, dK, S 1 | dP 1 | P, dS | dQ 0, dV, dK, S 2 | dQ 0 to shared memory, dP 2 | P, dS | dQ 1 ...
//   adding warp   |                                                                  | its turn: dQ 0 added, next turn | ...
//
// Five products a step instead of the seven of two kernels (hopper_backward_block.cuh). Two warpgroups of consumers have 64 keys each and exchange dS
// through shared memory: each makes half of dQ's columns, a step late, so that they seldom wait for each other.
namespace hilbertring {

static_assert(kHopperBackwardOwnRows == kTurnKeyRows && kHopperBackwardOthers == kTurnQueryRows);

inline constexpr int kTurnStages = 2;
/// dQ goes to memory in panels of so many float32 columns, 128 bytes.
inline constexpr int kAddedColumns = 32;

template <class Stored>
struct HopperTurnsParameters : HopperBackwardParameters<Stored> {
  CUtensorMap added;  ///< dq, for `add_box`
  DeviceRows<float> dq;
  std::int32_t* num_claimed;
  std::int32_t* turns;
  std::int64_t turns_per_head;
};

template <int kColumns>
struct HopperTurnsShared : HopperBackwardTiles<kColumns, kTurnStages> {
  using ScoreGradientTile = PanelTile<kTurnKeyRows, kTurnQueryRows>;
  static constexpr int kAddedPanelBytes = kTurnQueryRows * 128;
  static constexpr int kNumAddedPanels = kColumns / kAddedColumns;

  alignas(1024) std::byte score_gradients[2][ScoreGradientTile::kNumBytes];                ///< dS^T: rows are keys
  alignas(1024) std::byte query_gradients[2][kNumAddedPanels * kAddedPanelBytes];  ///< dQ of a step
};

struct HopperTurnsBarriers : HopperBackwardBarriers<kTurnStages> {
  RingBarriers<2> score_gradients, query_gradients;
  std::int32_t claim;  ///< the block's tile. (Here, because the other memory is full.)

  __device__ void init_all(int num_scalar_arrivals) {
    constexpr int kConsumerWarps = 4 * kBackwardGroups;
    score_gradients.init(kConsumerWarps, kConsumerWarps);
    query_gradients.init(kConsumerWarps, 1);
    init(num_scalar_arrivals);
  }
};

template <class Stored, int kTheColumns>
struct HopperTurnsBlock {
  static constexpr Owner kOwner = Owner::kKeys;
  static constexpr int kColumns = kTheColumns;
  static constexpr bool kKnowsTimes = false;
  static constexpr int kScalarArrivals = kWarpThreads;
  static constexpr int kProducerRegisters = 40;
  static constexpr int kConsumerRegisters = 232;
  using Shared = HopperTurnsShared<kColumns>;
  using StagePlace = RingPlace<kTurnStages>;

  const HopperTurnsParameters<Stored>& p;
  Shared& shared;
  HopperTurnsBarriers& barriers;
};

/// Visits the query tiles that a key tile meets, chunk by chunk, each chunk from `first_query_tile` on and round. Small: it must fit in few registers.
struct TurnWalk {
  KeyTilePlace key;
  std::int32_t meeting, end_meeting;
  std::int32_t num_visited = 0;  ///< tiles of the meeting

  __device__ TurnWalk(const WorkView& work, const WorkTile& tile) {
    const OwnRun& run = work.own_runs[tile.own_run];
    key = {tile.tile, (run.rows.count + kTurnKeyRows - 1) / kTurnKeyRows};
    meeting = run.first_meeting;
    end_meeting = run.end_meeting;
  }

  __device__ static std::int32_t num_tiles(const Meeting& queries) { return (queries.rows.count + kTurnQueryRows - 1) / kTurnQueryRows; }

  /// On the diagonal queries and keys count from the same position.
  __device__ TileClass class_of(const Meeting& queries, std::int32_t first_index, std::int32_t num_rows) const {
    TileClass by_causality = TileClass::kFull;
    if (queries.is_diagonal != 0) {
      const std::int32_t first_key = key.tile * kTurnKeyRows;
      by_causality = Pattern::class_of_times(first_index, first_index + num_rows - 1, first_key,
                                             min(first_key + kTurnKeyRows, queries.rows.count) - 1);
    }
    return by_causality == TileClass::kFull && num_rows < kTurnQueryRows ? TileClass::kPartial : by_causality;
  }

  __device__ Step next(const WorkView& work) {
    while (meeting < end_meeting) {
      const Meeting& queries = work.meetings[meeting];
      const std::int32_t count = num_tiles(queries);
      if (num_visited == count) {
        num_visited = 0;
        ++meeting;
        continue;
      }
      std::int32_t tile = first_query_tile(key.tile, count) + num_visited++;
      tile -= tile >= count ? count : 0;
      const std::int32_t first_index = tile * kTurnQueryRows;
      const std::int32_t num_rows = min(kTurnQueryRows, queries.rows.count - first_index);
      const TileClass tile_class = class_of(queries, first_index, num_rows);
      if (tile_class != TileClass::kEmpty) return {tile_class, meeting, first_index, num_rows};
    }
    return {};
  }
};

template <class Stored, int kColumns>
__device__ void produce(const HopperTurnsBlock<Stored, kColumns>& block) {
  const WorkTile work_tile = block.p.work.tiles[block.barriers.claim];
  TurnWalk walk(block.p.work, work_tile);
  produce_walk(block, own_tile(block.p.work, work_tile, kTurnKeyRows), work_tile.own_run, walk);
}

/// Where dQ's element lies in shared memory, in panels permuted like a `PanelTile`'s.
template <int kColumns>
__device__ std::uint32_t added_address(std::uint32_t base, int row, int column) {
  const int panel = column / kAddedColumns, in_panel = column % kAddedColumns;
  return base + static_cast<std::uint32_t>(panel * HopperTurnsShared<kColumns>::kAddedPanelBytes + row * 128 + ((in_panel / 4) ^ (row % 8)) * 16 +
                                           in_panel % 4 * 4);
}

// ---- The adding warp.

/// Adds a tile with fewer rows than a box, row by row, in the order in which it would have been added: nobody else has the turn.
template <class Stored, int kColumns>
__device__ void add_rows(const HopperTurnsBlock<Stored, kColumns>& block, std::int32_t plane, std::int64_t first_row, std::int32_t num_rows,
                         std::uint32_t from) {
  const auto& dq = block.p.dq;
  for (std::int32_t row = 0; row < num_rows; ++row) {
    float* const to = dq.data + (plane * dq.rows + first_row + row) * dq.columns;
    for (int column = static_cast<int>(threadIdx.x) % kWarpThreads; column < dq.columns; column += kWarpThreads) {
      float value;
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(added_address<kColumns>(from, row, column)) : "memory");
      __stcg(to + column, __fadd_rn(__ldcg(to + column), value));
    }
  }
  __threadfence();
  order_async_proxy();
  __syncwarp();
}

template <class Stored, int kColumns>
__device__ void add_in_turn(const HopperTurnsBlock<Stored, kColumns>& block) {
  using Shared = HopperTurnsShared<kColumns>;
  const auto& p = block.p;
  const WorkTile work_tile = p.work.tiles[block.barriers.claim];
  auto& ring = block.barriers.query_gradients;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  RingPlace<2> place;
  TurnWalk walk(p.work, work_tile);
  for (Step step = walk.next(p.work); step.tile_class != TileClass::kEmpty; step = walk.next(p.work)) {
    const Meeting& meeting = p.work.meetings[step.meeting];
    const std::int32_t plane = other_plane<Owner::kKeys>(p, work_tile.batch, work_tile.head, meeting);
    const std::int32_t tile = step.first_index / kTurnQueryRows, count = TurnWalk::num_tiles(meeting);
    std::int32_t* const counter = p.turns + plane * p.turns_per_head + meeting.first_counter + tile;
    const std::int64_t first_row = meeting.rows.first_row + step.first_index;
    const std::uint32_t from = shared_address(block.shared.query_gradients[place.index]);
    ring.wait_until_full(place);
    if (is_leader) {
      const std::int32_t turn = meeting.turn + turn_of(walk.key, tile, count);
      while (load_acquire(counter) != turn) {
      }
      order_async_proxy();
    }
    __syncwarp();
    if (step.num_rows == kTurnQueryRows) {
      if (is_leader) {
#pragma unroll
        for (int panel = 0; panel < Shared::kNumAddedPanels; ++panel) {
          const std::int32_t at[3] = {panel * kAddedColumns, static_cast<std::int32_t>(first_row), plane};
          add_box(&p.added, at, from + static_cast<std::uint32_t>(panel * Shared::kAddedPanelBytes));
        }
        end_boxes();
        wait_until_boxes_are_read();
      }
    } else {
      add_rows(block, plane, first_row, step.num_rows, from);
    }
    if (is_leader) {
      arrive(shared_address(&ring.empty[place.index]));
      wait_until_boxes_are_added();
      order_async_proxy();
      store_release(counter, meeting.turn + turn_after(walk.key, tile, count, meeting.is_diagonal != 0));
    }
    place.advance();
    __syncwarp();
  }
}

}  // namespace hilbertring

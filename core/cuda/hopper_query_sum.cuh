#pragma once

#include <cstddef>
#include <cstdint>

#include "core/cuda/hopper_consumer.cuh"

// dQ on Hopper (sm_90a) from score gradients that the kernel of keys has left behind: dQ += dS K, one product instead of three. Memory, not the
// products, is its limit, hence the many stages.
//
//   producer warp | dS, K of step 0 -> stage 0 | dS, K of step 1 -> stage 1 | ...
//   consumers     |                            | dQ += dS K                 | ...
namespace hilbertring {

inline constexpr int kQuerySumGroups = 2;
inline constexpr int kQuerySumRows = 64 * kQuerySumGroups;
inline constexpr int kQuerySumKeys = 64;
inline constexpr int kQuerySumStages = 6;

template <class Stored>
struct HopperQuerySumParameters {
  MappedRows<Stored> keys;
  WorkView work;
  ScoreGradients score_gradients;
  DeviceRows<float> dq;
};

template <int kColumns>
struct HopperQuerySumShared {
  using KeyTile = PanelTile<kQuerySumKeys, kColumns>;

  alignas(1024) std::byte keys[kQuerySumStages][KeyTile::kNumBytes];
  alignas(1024) std::byte score_gradients[kQuerySumStages][kQuerySumGroups * kScoreBlockBytes];
  bool is_end[kQuerySumStages];  ///< nothing follows
  OwnTile own;
};

template <class Stored, int kColumns>
struct HopperQuerySumBlock {
  const HopperQuerySumParameters<Stored>& p;
  HopperQuerySumShared<kColumns>& shared;
  RingBarriers<kQuerySumStages>& ring;
};

/// A whole warp.
template <class Stored, int kColumns>
__device__ void produce_query_sum(const HopperQuerySumBlock<Stored, kColumns>& block) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  RingPlace<kQuerySumStages> stage;
  Walk<Owner::kQueries, kQuerySumKeys> walk;
  walk.start(own_tile(p.work, p.work.tiles[blockIdx.x], kQuerySumRows));
  if (is_leader) shared.own = walk.own;
  const std::int32_t query_plane = static_cast<std::int32_t>(walk.own.batch * p.dq.heads) + walk.own.head;
  const std::int32_t key_plane = static_cast<std::int32_t>(walk.own.batch * p.keys.rows.heads) + walk.own.head / p.work.heads_per_kv_head;
  for (Step step = walk.next(p.work); step.tile_class != TileClass::kEmpty; step = walk.next(p.work)) {
    const TileSource from = tile_source(run_source(p.work.meetings[step.meeting].rows, key_plane), step.first_index, step.num_rows);
    const std::int64_t score_block = p.score_gradients.block_of(query_plane, walk.own.first_row, from.index);
    block.ring.wait_until_empty(stage);
    if (is_leader) {
      shared.is_end[stage.index] = false;
      arrive_expecting(block.ring.full_at(stage), sizeof shared.score_gradients[0]);
      copy_bytes(shared_address(shared.score_gradients[stage.index]), p.score_gradients.blocks + score_block * kScoreBlockBytes,
                 sizeof shared.score_gradients[0], block.ring.full_at(stage));
    }
    load_tile<kQuerySumKeys, kColumns>(shared_address(shared.keys[stage.index]), p.keys, from, block.ring.full_at(stage));
    stage.advance();
    __syncwarp();
  }
  block.ring.wait_until_empty(stage);
  if (!is_leader) return;
  shared.is_end[stage.index] = true;
  for (int i = 0; i < 2; ++i) arrive(block.ring.full_at(stage));
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume_query_sum(const HopperQuerySumBlock<Stored, kColumns>& block) {
  using KeyTile = typename HopperQuerySumShared<kColumns>::KeyTile;
  using ScoreTile = PanelTile<kScoreBlockRows, 64>;
  const Consumer me;
  auto& shared = block.shared;
  RingPlace<kQuerySumStages> stage, last;
  float dq[kColumns / 8][4];
  block.ring.wait_until_full(stage);
  if (shared.is_end[0]) return;
  load_part(block.p.dq, me, shared.own, dq);
  for (bool is_first = true;; is_first = false) {
    const SharedFactor scores =
        ScoreTile::by_columns(shared_address(shared.score_gradients[stage.index]) + me.group * static_cast<unsigned>(kScoreBlockBytes));
    const SharedFactor keys = KeyTile::by_columns(shared_address(shared.keys[stage.index]));
    pin(dq);
    begin_products();
#pragma unroll
    for (int step = 0; step < kQuerySumKeys / 16; ++step) {
      multiply_add_shared<Stored, true, true>(dq, scores.moved_by(ScoreTile::row_step(step)), keys.moved_by(KeyTile::row_step(step)), true);
    }
    end_group();
    wait_for_groups<1>();
    if (!is_first) block.ring.release(last, me.is_first_lane);
    last = stage;
    stage.advance();
    block.ring.wait_until_full(stage);
    if (__any_sync(0xffffffffU, shared.is_end[stage.index])) break;
  }
  wait_for_groups<0>();
  pin(dq);
  store_part(block.p.dq, me, shared.own, dq);
}

/// Empty but in code for sm_90a.
template <class Stored, int kColumns>
__global__ void __launch_bounds__((kQuerySumGroups + 1) * kWarpgroupThreads, 1)
    hopper_query_sum(const __grid_constant__ HopperQuerySumParameters<Stored> p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte shared_bytes[];
  __shared__ RingBarriers<kQuerySumStages> ring;
  const HopperQuerySumBlock<Stored, kColumns> block{p, *reinterpret_cast<HopperQuerySumShared<kColumns>*>(shared_bytes), ring};
  if (threadIdx.x == 0) {
    ring.init(2, 4 * kQuerySumGroups);
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kWarpThreads) {
    produce_query_sum(block);
  } else if (threadIdx.x >= kWarpgroupThreads) {
    consume_query_sum(block);
  }
#endif
}

template <class Stored>
void launch_hopper_query_sum(const Launch& launch, const BackwardOperands& operands) {
  constexpr int kColumns = 128;
  const HopperQuerySumParameters<Stored> parameters{.keys = mapped_rows<Stored>(operands.k, launch.strides, kQuerySumKeys),
                                                    .work = work_view(launch, operands.times, operands.q, operands.k),
                                                    .score_gradients = launch.score_gradients,
                                                    .dq = device_rows<float>(operands.dq)};
  launch_checked(hopper_query_sum<Stored, kColumns>, launch.num_tiles, (kQuerySumGroups + 1) * kWarpgroupThreads,
                 sizeof(HopperQuerySumShared<kColumns>), launch.stream, parameters);
}

}  // namespace hilbertring

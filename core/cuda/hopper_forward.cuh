#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "core/cuda/hopper_maps.h"
#include "core/cuda/hopper_tiles.cuh"
#include "core/cuda/softmax_scale.h"

// Forward on Hopper (sm_90a). As many thread blocks as multiprocessors; each claims work tiles one after the other:
//
//   producer warp   | claim tile, walk | Q -> slot | K0 V0 -> stage 0 | K1 V1 -> stage 1 | ... | next tile's Q | K0 V0 | ...
//   consumers A     |   S0 = Q K0 | softmax 0 | S1, O += P0 V0 | softmax 1      | S2, O += P1 V1 | ... | O += Pn Vn | store
//   consumers B     |     ...           S0    | softmax 0      | S1, O += P0 V0 | softmax 1      | ...
//
// A warpgroup of consumers owns 64 queries. Its products of one step run while it takes the softmax of the step before, and the warpgroups take turns
// in handing products in, so that one's softmax hides behind another's products. The state (largest score, sum, O) stays in registers from the first
// step of a tile to its last; every step adds to it in the same way whichever call it belongs to, and sums up a row before the row's sum takes it.
namespace hilbertring {

/// Keys that are folded at a time.
inline constexpr int kHopperKeys = 128;

template <int kColumns>
struct HopperForwardShape;
template <>
struct HopperForwardShape<64> {
  static constexpr int kGroups = 3, kStages = 4;
  static constexpr int kProducerRegisters = 32, kConsumerRegisters = 160;
};
template <>
struct HopperForwardShape<128> {
  static constexpr int kGroups = 2, kStages = 2;
  static constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
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
  Step step;
  bool is_last;
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
  OwnTile own[2];  ///< without rows: there is no more work
  PublishedStep steps[Shape::kStages];
  Walk<Owner::kQueries, kHopperKeys> walk;
  Step next_step;
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
__device__ void load_queries(const HopperForwardBlock<Stored, kColumns>& block, const RingPlace<2>& slot) {
  auto& shared = block.shared;
  block.barriers.queries.wait_until_empty(slot);
  const OwnTile& own = shared.walk.own;
  const SourceRows from = source_of(own, own.head);
  if (threadIdx.x % kWarpThreads == 0) shared.own[slot.index] = own;
  if (block.p.work.causal == Causal::kSequence) load_times(shared.query_times[slot.index], block.p.work.query_times, from);
  load_tile<HopperForwardShared<kColumns>::kOwnRows, kColumns>(shared_address(shared.queries[slot.index]), block.p.q, from,
                                                               block.barriers.queries.full_at(slot));
}

/// Loads the step that the walk has found last and finds the next. Returns whether there is none.
template <class Stored, int kColumns>
__device__ bool load_step(const HopperForwardBlock<Stored, kColumns>& block, const typename HopperForwardBlock<Stored, kColumns>::StagePlace& stage) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  const Step step = shared.next_step;
  const SourceRows from = source_of(p.work.meetings[step.meeting].rows, step, shared.walk.own.batch, shared.walk.own.head / p.work.heads_per_kv_head);
  __syncwarp();
  if (is_leader) shared.next_step = shared.walk.next(p.work);
  __syncwarp();
  const bool is_last = shared.next_step.tile_class == TileClass::kEmpty;
  block.barriers.keys.wait_until_empty(stage);
  if (is_leader) shared.steps[stage.index] = {step, is_last};
  if (p.work.causal == Causal::kSequence && step.tile_class == TileClass::kPartial) {
    load_times(shared.key_times[stage.index], p.work.key_times, from);
  }
  load_tile<kHopperKeys, kColumns>(shared_address(shared.keys[stage.index]), p.k, from, block.barriers.keys.full_at(stage));
  block.barriers.values.wait_until_empty(stage);
  load_tile<kHopperKeys, kColumns>(shared_address(shared.values[stage.index]), p.v, from, block.barriers.values.full_at(stage));
  return is_last;
}

template <class Stored, int kColumns>
__device__ void produce(const HopperForwardBlock<Stored, kColumns>& block) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  auto& shared = block.shared;
  const auto& p = block.p;
  const bool is_leader = threadIdx.x % kWarpThreads == 0;
  typename Block::SlotPlace slot;
  typename Block::StagePlace stage;
  for (std::int64_t tile = blockIdx.x; tile < p.num_tiles;) {
    // Asked for early: the answer takes as long as a step.
    const int claim = is_leader ? atomicAdd(p.num_claimed, 1) : 0;
    if (is_leader) {
      shared.walk.start(own_tile(p.work, p.work.tiles[tile], Block::Shared::kOwnRows));
      shared.next_step = shared.walk.next(p.work);
    }
    __syncwarp();
    if (shared.next_step.tile_class != TileClass::kEmpty) {
      load_queries(block, slot);
      slot.advance();
      for (bool is_last = false; !is_last; stage.advance()) is_last = load_step(block, stage);
    }
    tile = gridDim.x + static_cast<std::int64_t>(__shfl_sync(0xffffffffU, claim, 0));
  }
  block.barriers.queries.wait_until_empty(slot);
  if (is_leader) {
    shared.own[slot.index].num_rows = 0;
    arrive(block.barriers.queries.full_at(slot));
  }
}

// ---- The consumers: all functions are called by a whole warpgroup, which has 64 rows of the own tile.

__device__ inline int consumer_group() { return static_cast<int>(threadIdx.x) / kWarpgroupThreads - 1; }
/// The first of the two rows of the tile, 8 apart, that the calling thread shares with three others.
__device__ inline int first_row_of_consumer() {
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroupThreads;
  return thread / kWarpThreads * 16 + thread % kWarpThreads / 4;
}
/// The first of the two columns, of every eight, that the calling thread has.
__device__ inline int first_column_of_consumer() { return static_cast<int>(threadIdx.x) % 4 * 2; }

template <int kColumns>
struct HopperState {
  float max[2], sum[2];
  float o[kColumns / 8][4];
};
using HopperScores = float[kHopperKeys / 8][4];
using HopperProbabilities = std::uint32_t[kHopperKeys / 16][4];

/// Calls visit(half, row of the shard) for the thread's rows that exist.
template <class Visit>
__device__ void for_each_row_of_consumer(const OwnTile& own, Visit&& visit) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row_of_consumer() + 8 * half;
    if (row < own.num_rows) visit(half, own.first_row + row * own.stride);
  }
}

template <class Stored, int kColumns>
__device__ __forceinline__ void load_state(const HopperForwardParameters<Stored>& p, const OwnTile& own, HopperState<kColumns>& state) {
  state.max[0] = state.max[1] = -INFINITY;
  state.sum[0] = state.sum[1] = 0.0F;
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) state.o[i / 4][i % 4] = 0.0F;
  for_each_row_of_consumer(own, [&](int half, std::int64_t row) {
    state.max[half] = *p.row_max.row(own.batch, own.head, row);
    state.sum[half] = *p.row_sum.row(own.batch, own.head, row);
    const float* from = p.o.row(own.batch, own.head, row) + first_column_of_consumer();
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      if (8 * n >= p.o.columns) continue;
      const float2 two = *reinterpret_cast<const float2*>(from + 8 * n);
      state.o[n][2 * half] = two.x;
      state.o[n][2 * half + 1] = two.y;
    }
  });
}

template <class Stored, int kColumns>
__device__ __forceinline__ void store_state(const HopperForwardParameters<Stored>& p, const OwnTile& own, const HopperState<kColumns>& state) {
  for_each_row_of_consumer(own, [&](int half, std::int64_t row) {
    if (threadIdx.x % 4 == 0) {
      *p.row_max.row(own.batch, own.head, row) = state.max[half];
      *p.row_sum.row(own.batch, own.head, row) = state.sum[half];
    }
    float* to = p.o.row(own.batch, own.head, row) + first_column_of_consumer();
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      if (8 * n >= p.o.columns) continue;
      *reinterpret_cast<float2*>(to + 8 * n) = make_float2(state.o[n][2 * half], state.o[n][2 * half + 1]);
    }
  });
}

/// Hands in S = Q K^T.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_scores(HopperScores& scores, HopperForwardShared<kColumns>& shared, int slot, int stage) {
  using Shared = HopperForwardShared<kColumns>;
  const std::uint32_t queries = shared_address(shared.queries[slot]);
  const std::uint32_t keys = shared_address(shared.keys[stage]);
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    multiply_add_shared<Stored, false>(scores, Shared::QueryTile::by_rows(queries, 64 * consumer_group(), step),
                                       Shared::KeyTile::by_rows(keys, 0, step), step > 0);
  }
  end_group();
}

/// Hands in O += P V.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_output(HopperState<kColumns>& state, const HopperProbabilities& probabilities, HopperForwardShared<kColumns>& shared, int stage) {
  const std::uint32_t values = shared_address(shared.values[stage]);
#pragma unroll
  for (int step = 0; step < kHopperKeys / 16; ++step) {
    multiply_add<Stored, true>(state.o, probabilities[step], HopperForwardShared<kColumns>::KeyTile::by_columns(values, step), true);
  }
  end_group();
}

/// Bit i tells whether the row may see the thread's column i. A loop of its own: unrolled among the scores it would not fit the instruction cache.
__device__ inline std::uint32_t allowed_columns(const TileMask<Owner::kQueries>& mask, int row) {
  const ColumnRange range = mask.columns(row);
  std::uint32_t allowed = 0;
#pragma unroll 8
  for (int i = 0; i < kHopperKeys / 4; ++i) {
    const int column = first_column_of_consumer() + i / 2 * 8 + i % 2;
    const bool is_allowed = range.contains(column) && (!mask.asks_elements || mask.allows(row, column));
    allowed |= (is_allowed ? 1U : 0U) << i;
  }
  return allowed;
}

/// Elements of forbidden pairs become -infinity. Returns how many of the thread's are allowed.
__device__ __forceinline__ unsigned mask_scores(HopperScores& scores, const TileMask<Owner::kQueries>& mask) {
  static_assert(kHopperKeys / 4 == 32);
  unsigned num_allowed = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::uint32_t allowed = allowed_columns(mask, first_row_of_consumer() + 8 * half);
    num_allowed += static_cast<unsigned>(__popc(allowed));
#pragma unroll
    for (int i = 0; i < kHopperKeys / 4; ++i) {
      float& element = scores[i / 2][2 * half + i % 2];
      element = (allowed >> i & 1U) != 0 ? element : -INFINITY;
    }
  }
  return num_allowed;
}

/// What is left to do for scores that have arrived: sign and mask. Frees the stage's keys. Returns whether the step is the tile's last.
template <class Stored, int kColumns>
__device__ __forceinline__ bool finish_scores(const HopperForwardBlock<Stored, kColumns>& block, HopperScores& scores, int slot,
                              const typename HopperForwardBlock<Stored, kColumns>::StagePlace& stage, unsigned& num_allowed) {
  auto& shared = block.shared;
  const PublishedStep& published = shared.steps[stage.index];
  const bool is_last = published.is_last;
  if (block.p.score_sign != 1.0F) {
#pragma unroll
    for (int i = 0; i < kHopperKeys / 2; ++i) scores[i / 4][i % 4] *= block.p.score_sign;
  }
  const OwnTile& own = shared.own[slot];
  if (published.step.tile_class == TileClass::kPartial) {
    const Step step = published.step;
    num_allowed += mask_scores(scores, tile_mask<Owner::kQueries>(block.p.work, own, step, shared.query_times[slot], shared.key_times[stage.index]));
    __syncwarp();
  } else if (threadIdx.x == kWarpgroupThreads) {
    num_allowed += static_cast<unsigned>(own.num_rows * published.step.num_rows);
  }
  block.barriers.keys.release(stage);
  return is_last;
}

/// max <- max(max, scores), p = exp2(scores - max), sum <- rescale * sum + sum of p. Returns rescale = exp2(old max - max), O's factor, in `rescale`.
/// Sums of four neighbours each keep the additions from waiting for one another; their order is one for all steps.
__device__ __forceinline__ void fold_scores(HopperScores& scores, float factor, float (&max)[2], float (&sum)[2], float (&rescale)[2]) {
  constexpr int kQuads = kHopperKeys / 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
#pragma unroll
    for (int n = 0; n < kQuads; ++n) largest[n % 4] = fmaxf(largest[n % 4], fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    const float largest_of_row = max_of_row(fmaxf(fmaxf(largest[0], largest[1]), fmaxf(largest[2], largest[3])));
    const float new_max = fmaxf(max[half], __fmul_rn(largest_of_row, factor));
    // A row that has seen no key yet keeps its zeros; infinity minus infinity would make them NaN.
    const float shift = new_max == -INFINITY ? 0.0F : new_max;
    rescale[half] = exp2_fast(__fsub_rn(max[half], shift));
    max[half] = new_max;
    float sums[4] = {0.0F, 0.0F, 0.0F, 0.0F};
#pragma unroll
    for (int n = 0; n < kQuads; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float& element = scores[n][2 * half + i];
        element = exp2_fast(__fmaf_rn(element, factor, -shift));
        sums[2 * (n % 2) + i] = __fadd_rn(sums[2 * (n % 2) + i], element);
      }
    }
    const float sum_of_step = sum_of_row(__fadd_rn(__fadd_rn(sums[0], sums[1]), __fadd_rn(sums[2], sums[3])));
    sum[half] = __fmaf_rn(sum[half], rescale[half], sum_of_step);
  }
}

/// O <- rescale * O, and probabilities rounded to the left factor of their product with V.
template <class Stored, int kColumns>
__device__ __forceinline__ void prepare_output(HopperState<kColumns>& state, const float (&rescale)[2], const HopperScores& scores,
                               HopperProbabilities& probabilities) {
#pragma unroll
  for (int i = 0; i < kColumns / 2; ++i) state.o[i / 4][i % 4] = __fmul_rn(state.o[i / 4][i % 4], rescale[i % 4 / 2]);
#pragma unroll
  for (int k = 0; k < kHopperKeys / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      probabilities[k][i] = round_pair<Stored>(scores[2 * k + i / 2][2 * (i % 2)], scores[2 * k + i / 2][2 * (i % 2) + 1]);
    }
  }
}

/// Warpgroups hand products in by turns: names of their barriers are 1, 2, ...; 0 is the thread block's.
template <int kGroups>
__device__ void wait_for_turn() {
  meet(1 + consumer_group(), 2 * kWarpgroupThreads);
}
template <int kGroups>
__device__ void pass_turn() {
  meet_later(1 + (consumer_group() + 1) % kGroups, 2 * kWarpgroupThreads);
}

/// Folds all steps of a tile. `key_stage` is the place of its first step, and then of the next tile's.
template <class Stored, int kColumns>
__device__ __forceinline__ unsigned fold_tile(const HopperForwardBlock<Stored, kColumns>& block, int slot,
                              typename HopperForwardBlock<Stored, kColumns>::StagePlace& key_stage, HopperState<kColumns>& state) {
  constexpr int kGroups = HopperForwardShape<kColumns>::kGroups;
  auto& shared = block.shared;
  auto& barriers = block.barriers;
  const float factor = block.p.score_factor;
  HopperScores scores;
  HopperProbabilities probabilities;
  float rescale[2];
  unsigned num_allowed = 0;
  auto value_stage = key_stage;

  barriers.keys.wait_until_full(key_stage);
  pin(scores);
  begin_products();
  begin_scores<Stored>(scores, shared, slot, key_stage.index);
  wait_for_groups<0>();
  pin(scores);
  bool is_last = finish_scores(block, scores, slot, key_stage, num_allowed);
  key_stage.advance();
  fold_scores(scores, factor, state.max, state.sum, rescale);
  prepare_output<Stored>(state, rescale, scores, probabilities);
  while (!is_last) {
    barriers.keys.wait_until_full(key_stage);
    wait_for_turn<kGroups>();
    pin(scores);
    pin(state.o);
    begin_products();
    begin_scores<Stored>(scores, shared, slot, key_stage.index);
    barriers.values.wait_until_full(value_stage);
    begin_output<Stored>(state, probabilities, shared, value_stage.index);
    pass_turn<kGroups>();
    wait_for_groups<1>();
    pin(scores);
    is_last = finish_scores(block, scores, slot, key_stage, num_allowed);
    key_stage.advance();
    fold_scores(scores, factor, state.max, state.sum, rescale);
    wait_for_groups<0>();
    pin(state.o);
    barriers.values.release(value_stage);
    value_stage.advance();
    prepare_output<Stored>(state, rescale, scores, probabilities);
  }
  barriers.values.wait_until_full(value_stage);
  pin(state.o);
  begin_products();
  begin_output<Stored>(state, probabilities, shared, value_stage.index);
  wait_for_groups<0>();
  pin(state.o);
  barriers.values.release(value_stage);
  return num_allowed;
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume(const HopperForwardBlock<Stored, kColumns>& block) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  constexpr int kGroups = Block::Shape::kGroups;
  if (consumer_group() == kGroups - 1) pass_turn<kGroups>();
  typename Block::StagePlace stage;
  for (typename Block::SlotPlace slot;; slot.advance()) {
    block.barriers.queries.wait_until_full(slot);
    const OwnTile& own = block.shared.own[slot.index];
    if (own.num_rows == 0) break;
    HopperState<kColumns> state;
    load_state(block.p, own, state);
    const unsigned num_allowed = fold_tile(block, slot.index, stage, state);
    store_state(block.p, own, state);
    if (block.p.pair_counter != nullptr) add_to_counter(block.p.pair_counter, num_allowed);
    __syncwarp();
    block.barriers.queries.release(slot);
  }
  // The last turn that was passed on.
  if (consumer_group() == 0) wait_for_turn<kGroups>();
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

template <class Stored>
MappedRows<Stored> mapped_rows(const ConstTensor& tensor, std::span<const std::int64_t> strides, std::int32_t box_rows) {
  MappedRows<Stored> mapped{.maps = {}, .rows = device_rows<Stored>(tensor)};
  for (std::size_t i = 0; i < strides.size() && i < kMaxMaps; ++i) mapped.maps[i] = make_row_map(tensor, strides[i], box_rows);
  return mapped;
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

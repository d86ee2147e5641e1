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
//   producer warp   | claim tile, walk | Q -> slot | K0 | K1 V0 | K2 V1 | ... | next tile's Q | K0 Vn | K1 V0 | ...
//   consumers A     |   S0 = Q K0 | softmax 0 | S1, O += P0 V0 | softmax 1      | S2, O += P1 V1 | softmax 2 | ...
//   consumers B     |     ...           S0    | softmax 0      | S1, O += P0 V0 | softmax 1      | ...
//
// A warpgroup of consumers owns 64 queries. The softmax of one step runs while the product of the step before is added to O, and the warpgroups take
// turns in handing products in, so that one's softmax hides behind another's products. This goes on from tile to tile: the first scores of a tile are
// computed together with the last product of the tile before, and only then O is stored and the next one loaded.
// The state (largest score, sum, O) stays in registers from the first step of a tile to its last; every step adds to it in the same way whichever call
// it belongs to, and sums up a row before the row's sum takes it.
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

/// A step as consumers see it. One of class kEmpty: there is no more work.
struct PublishedStep {
  Step step;
  bool begins_tile;
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
  Walk<Owner::kQueries, kHopperKeys> walk;
  Step next_step;
  unsigned long long num_masked_pairs[4 * Shape::kGroups];  ///< allowed ones of partial tiles, by warp
  float unread[kWarpgroupThreads * Shape::kGroups];
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
__device__ void load_queries(const HopperForwardBlock<Stored, kColumns>& block, const RowRun& run, const RingPlace<2>& slot) {
  auto& shared = block.shared;
  const auto& p = block.p;
  const OwnTile& own = shared.walk.own;
  const TileSource from = tile_source(run, own.first_index, own.num_rows, static_cast<std::int32_t>(own.batch * p.q.rows.heads) + own.head);
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

/// Values follow a step behind keys, as consumers want them: a stage of values is free only when the next step's scores have been computed.
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
    if (is_leader) {
      shared.walk.start(own_tile(p.work, work_tile, Block::Shared::kOwnRows));
      shared.next_step = shared.walk.next(p.work);
    }
    __syncwarp();
    const auto key_plane = static_cast<std::int32_t>(work_tile.batch * p.k.rows.heads) + work_tile.head / p.work.heads_per_kv_head;
    bool begins_tile = true;
    for (Step step = shared.next_step; step.tile_class != TileClass::kEmpty; step = shared.next_step) {
      const TileSource from = tile_source(p.work.meetings[step.meeting].rows, step.first_index, step.num_rows, key_plane);
      if (begins_tile) {
        load_queries(block, p.work.own_runs[work_tile.own_run].rows, slot);
        slot.advance();
      }
      // All that can be is done before there is room for the keys: what comes between that and their copy holds the products up.
      __syncwarp();
      if (is_leader) shared.next_step = shared.walk.next(p.work);
      load_keys(block, {step, begins_tile}, from, key_stage);
      key_stage.advance();
      if (values.num_rows > 0) {
        load_values(block, values, value_stage);
        value_stage.advance();
      }
      values = from;
      if (begins_tile) prefetch_output(p, shared.walk.own);
      if (step.tile_class == TileClass::kFull) num_pairs += static_cast<unsigned>(shared.walk.own.num_rows * step.num_rows);
      begins_tile = false;
      __syncwarp();
    }
    tile = gridDim.x + static_cast<std::int64_t>(__shfl_sync(0xffffffffU, claim, 0));
  }
  if (values.num_rows > 0) load_values(block, values, value_stage);
  block.barriers.keys.wait_until_empty(key_stage);
  if (!is_leader) return;
  if (p.pair_counter != nullptr) atomicAdd(p.pair_counter, num_pairs);
  shared.steps[key_stage.index].step.tile_class = TileClass::kEmpty;
  arrive(block.barriers.keys.full_at(key_stage));
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
using HopperOutput = float[kColumns / 8][4];
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

template <class Stored>
__device__ __forceinline__ void load_sums(const HopperForwardParameters<Stored>& p, const OwnTile& own, float (&max)[2], float (&sum)[2]) {
  max[0] = max[1] = -INFINITY;
  sum[0] = sum[1] = 0.0F;
  for_each_row_of_consumer(own, [&](int half, std::int64_t row) {
    max[half] = *p.row_max.row(own.batch, own.head, row);
    sum[half] = *p.row_sum.row(own.batch, own.head, row);
  });
}

template <class Stored>
__device__ __forceinline__ void store_sums(const HopperForwardParameters<Stored>& p, const OwnTile& own, const float (&max)[2], const float (&sum)[2]) {
  if (threadIdx.x % 4 != 0) return;
  for_each_row_of_consumer(own, [&](int half, std::int64_t row) {
    *p.row_max.row(own.batch, own.head, row) = max[half];
    *p.row_sum.row(own.batch, own.head, row) = sum[half];
  });
}

/// Calls visit(address of two neighbours, or of nothing that exists; whether they exist; element of o) for the thread's part of O.
template <class Stored, int kColumns, class Visit>
__device__ __forceinline__ void for_each_two(const HopperForwardParameters<Stored>& p, const OwnTile& own, float (&o)[kColumns / 8][4], Visit&& visit) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row_of_consumer() + 8 * half;
    float* const first = p.o.row(own.batch, own.head, own.first_row + row * own.stride) + first_column_of_consumer();
    const int num_columns = row < own.num_rows ? static_cast<int>(p.o.columns) : 0;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) visit(reinterpret_cast<float2*>(first + 8 * n), 8 * n < num_columns, &o[n][2 * half]);
  }
}

template <class Stored, int kColumns>
__device__ __forceinline__ void load_output(const HopperForwardParameters<Stored>& p, const OwnTile& own, float (&o)[kColumns / 8][4]) {
  for_each_two<Stored, kColumns>(p, own, o, [](const float2* from, bool exists, float* to) {
    const float2 two = exists ? *from : float2{0.0F, 0.0F};
    to[0] = two.x;
    to[1] = two.y;
  });
}

template <class Stored, int kColumns>
__device__ __forceinline__ void store_output(const HopperForwardParameters<Stored>& p, const OwnTile& own, float (&o)[kColumns / 8][4]) {
  for_each_two<Stored, kColumns>(p, own, o, [](float2* to, bool exists, const float* from) {
    if (exists) *to = make_float2(from[0], from[1]);
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
__device__ __forceinline__ void begin_output(float (&o)[kColumns / 8][4], const HopperProbabilities& probabilities, HopperForwardShared<kColumns>& shared, int stage) {
  const std::uint32_t values = shared_address(shared.values[stage]);
#pragma unroll
  for (int step = 0; step < kHopperKeys / 16; ++step) {
    multiply_add<Stored, true>(o, probabilities[step], HopperForwardShared<kColumns>::KeyTile::by_columns(values, step), true);
  }
  end_group();
}

/// Bits of the thread's columns (it has two of every eight) that lie below a limit.
__device__ inline std::uint32_t columns_below(int limit) {
  const int rest = max(limit - first_column_of_consumer(), 0);
  const int count = rest / 8 * 2 + min(rest % 8, 2);
  return count >= 32 ? ~0U : (1U << count) - 1;
}

/// Bit i tells whether the row may see the thread's column i.
__device__ inline std::uint32_t allowed_columns(const TileMask<Owner::kQueries>& mask, int row) {
  const ColumnRange range = mask.columns(row);
  std::uint32_t allowed = columns_below(range.end) & ~columns_below(range.begin);
  if (!mask.asks_elements) return allowed;
  // A loop apart from the scores: unrolled among them it would not fit the instruction cache.
#pragma unroll 8
  for (int i = 0; i < kHopperKeys / 4; ++i) {
    const bool is_in_range = (allowed >> i & 1U) != 0;
    if (is_in_range && !mask.allows(row, first_column_of_consumer() + i / 2 * 8 + i % 2)) allowed &= ~(1U << i);
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

/// What is left to do for scores that have arrived: sign and mask. Frees the stage's keys.
template <class Stored, int kColumns>
__device__ __forceinline__ void finish_scores(const HopperForwardBlock<Stored, kColumns>& block, HopperScores& scores, int slot,
                                              const typename HopperForwardBlock<Stored, kColumns>::StagePlace& stage) {
  auto& shared = block.shared;
  if (block.p.score_sign != 1.0F) {
#pragma unroll
    for (int i = 0; i < kHopperKeys / 2; ++i) scores[i / 4][i % 4] *= block.p.score_sign;
  }
  const Step& step = shared.steps[stage.index].step;
  if (step.tile_class == TileClass::kPartial) {
    const unsigned num_allowed = mask_scores(
        scores, tile_mask<Owner::kQueries>(block.p.work, shared.own[slot], step, shared.query_times[slot], shared.key_times[stage.index]));
    const unsigned sum = __reduce_add_sync(0xffffffffU, num_allowed);
    if (threadIdx.x % kWarpThreads == 0) shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4] += sum;
  }
  block.barriers.keys.release(stage);
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

/// The assembler moves the softmax, which it takes for arithmetic like any other, behind a wait that follows it, where no product runs any more. But it
/// keeps the order of memory accesses and waits: so the sums are stored, for nobody.
template <int kColumns>
__device__ __forceinline__ void keep_before_wait(HopperForwardShared<kColumns>& shared, const float (&sum)[2]) {
  *reinterpret_cast<volatile float*>(&shared.unread[threadIdx.x - kWarpgroupThreads]) = __fadd_rn(sum[0], sum[1]);
}

/// O <- rescale * O, left out by warps whose rows all have a factor of 1, which changes no bit: after the first steps maxima seldom rise.
template <int kQuads>
__device__ __forceinline__ void rescale_output(float (&o)[kQuads][4], const float (&rescale)[2]) {
  if (!__any_sync(0xffffffffU, rescale[0] != 1.0F || rescale[1] != 1.0F)) return;
#pragma unroll
  for (int i = 0; i < 4 * kQuads; ++i) o[i / 4][i % 4] = __fmul_rn(o[i / 4][i % 4], rescale[i % 4 / 2]);
}

/// The left factor of the product with V.
template <class Stored>
__device__ __forceinline__ void round_probabilities(const HopperScores& scores, HopperProbabilities& probabilities) {
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

/// Folds the steps of all tiles.
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_steps(const HopperForwardBlock<Stored, kColumns>& block) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  constexpr int kGroups = Block::Shape::kGroups;
  const auto& p = block.p;
  auto& shared = block.shared;
  auto& barriers = block.barriers;
  typename Block::StagePlace key_stage, value_stage;
  typename Block::SlotPlace slot;
  HopperScores scores;
  HopperProbabilities probabilities;
  HopperOutput<kColumns> o;
  float max[2], sum[2], rescale[2];

  barriers.keys.wait_until_full(key_stage);
  if (shared.steps[key_stage.index].step.tile_class == TileClass::kEmpty) return;
  barriers.queries.wait_until_full(slot);
  load_sums(p, shared.own[slot.index], max, sum);
  load_output<Stored, kColumns>(p, shared.own[slot.index], o);
  pin(scores);
  begin_products();
  begin_scores<Stored>(scores, shared, slot.index, key_stage.index);
  wait_for_groups<0>();
  pin(scores);
  finish_scores(block, scores, slot.index, key_stage);
  key_stage.advance();
  fold_scores(scores, p.score_factor, max, sum, rescale);
  rescale_output(o, rescale);
  round_probabilities<Stored>(scores, probabilities);
  while (true) {
    barriers.keys.wait_until_full(key_stage);
    const PublishedStep& published = shared.steps[key_stage.index];
    if (published.step.tile_class == TileClass::kEmpty) break;
    const bool begins_tile = published.begins_tile;
    auto next_slot = slot;
    float next_max[2], next_sum[2];
    if (begins_tile) {
      next_slot.advance();
      barriers.queries.wait_until_full(next_slot);
      load_sums(p, shared.own[next_slot.index], next_max, next_sum);
    }
    wait_for_turn<kGroups>();
    pin(scores);
    pin(o);
    begin_products();
    begin_scores<Stored>(scores, shared, next_slot.index, key_stage.index);
    barriers.values.wait_until_full(value_stage);
    begin_products();
    begin_output<Stored, kColumns>(o, probabilities, shared, value_stage.index);
    pass_turn<kGroups>();
    wait_for_groups<1>();
    pin(scores);
    finish_scores(block, scores, next_slot.index, key_stage);
    key_stage.advance();
    if (begins_tile) {
      store_sums(p, shared.own[slot.index], max, sum);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        max[half] = next_max[half];
        sum[half] = next_sum[half];
      }
    }
    fold_scores(scores, p.score_factor, max, sum, rescale);
    keep_before_wait(shared, sum);
    wait_for_groups<0>();
    pin(o);
    barriers.values.release(value_stage);
    value_stage.advance();
    if (begins_tile) {
      store_output<Stored, kColumns>(p, shared.own[slot.index], o);
      __syncwarp();
      barriers.queries.release(slot);
      slot = next_slot;
      load_output<Stored, kColumns>(p, shared.own[slot.index], o);
    }
    rescale_output(o, rescale);
    round_probabilities<Stored>(scores, probabilities);
  }
  barriers.values.wait_until_full(value_stage);
  pin(o);
  begin_products();
  begin_output<Stored, kColumns>(o, probabilities, shared, value_stage.index);
  wait_for_groups<0>();
  pin(o);
  store_sums(p, shared.own[slot.index], max, sum);
  store_output<Stored, kColumns>(p, shared.own[slot.index], o);
}

template <class Stored, int kColumns>
__device__ __forceinline__ void consume(const HopperForwardBlock<Stored, kColumns>& block) {
  constexpr int kGroups = HopperForwardShape<kColumns>::kGroups;
  unsigned long long& num_masked_pairs = block.shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4];
  if (threadIdx.x % kWarpThreads == 0) num_masked_pairs = 0;
  if (consumer_group() == kGroups - 1) pass_turn<kGroups>();
  consume_steps(block);
  // The last turn that was passed on.
  if (consumer_group() == 0) wait_for_turn<kGroups>();
  if (threadIdx.x % kWarpThreads == 0 && block.p.pair_counter != nullptr) atomicAdd(block.p.pair_counter, num_masked_pairs);
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

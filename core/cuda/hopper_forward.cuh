#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "core/cuda/hopper_consumer.cuh"
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

// ---- The consumers: all functions are called by a whole warpgroup, which has 64 rows of the own tile.

template <int kColumns>
using HopperOutput = float[kColumns / 8][4];
using HopperScores = float[kHopperKeys / 8][4];
using HopperProbabilities = std::uint32_t[kHopperKeys / 16][4];

template <class Stored>
__device__ __forceinline__ void load_sums(const HopperForwardParameters<Stored>& p, const Consumer& me, const OwnTile& own, float (&max)[2], float (&sum)[2]) {
  max[0] = max[1] = -INFINITY;
  sum[0] = sum[1] = 0.0F;
  for_each_row_of_consumer(me, own, [&](int half, std::int64_t row) {
    max[half] = *p.row_max.row(own.batch, own.head, row);
    sum[half] = *p.row_sum.row(own.batch, own.head, row);
  });
}

template <class Stored>
__device__ __forceinline__ void store_sums(const HopperForwardParameters<Stored>& p, const Consumer& me, const OwnTile& own, const float (&max)[2], const float (&sum)[2]) {
  if (me.first_column != 0) return;
  for_each_row_of_consumer(me, own, [&](int half, std::int64_t row) {
    *p.row_max.row(own.batch, own.head, row) = max[half];
    *p.row_sum.row(own.batch, own.head, row) = sum[half];
  });
}

__device__ inline unsigned flags_of(const PublishedStep& step) { return uniform(step.flags); }

/// Hands in S = Q K^T.
template <class Stored, int kColumns>
__device__ __forceinline__ void begin_scores(HopperScores& scores, const HopperForwardShared<kColumns>& shared, unsigned group, unsigned slot, int stage) {
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

/// Elements of forbidden pairs become -infinity. Returns how many of the thread's are allowed.
__device__ __forceinline__ unsigned mask_scores(HopperScores& scores, const Consumer& me, const TileMask<Owner::kQueries>& mask) {
  static_assert(kHopperKeys / 4 == 32);
  unsigned num_allowed = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const std::uint32_t allowed = allowed_columns<kHopperKeys>(me, mask, me.first_row + 8 * half);
    num_allowed += static_cast<unsigned>(__popc(allowed));
#pragma unroll
    for (int i = 0; i < kHopperKeys / 4; ++i) {
      float& element = scores[i / 2][2 * half + i % 2];
      element = (allowed >> i & 1U) != 0 ? element : -INFINITY;
    }
  }
  return num_allowed;
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
  const unsigned num_allowed =
      mask_scores(scores, me,
                  tile_mask<Owner::kQueries>(block.p.work, shared.own[slot], shared.steps[stage].step, shared.query_times[slot], shared.key_times[stage]));
  const unsigned sum = __reduce_add_sync(0xffffffffU, num_allowed);
  if (me.is_first_lane) shared.num_masked_pairs[threadIdx.x / kWarpThreads - 4] += sum;
}

/// The largest of the thread's 32 scores of a row. Bits of floats compare like integers, and three at a time, unless all are negative.
template <int kHalf>
__device__ __forceinline__ int largest_bits(const HopperScores& scores) {
  const auto bits = [&](int i) { return __float_as_int(scores[i / 2][2 * kHalf + i % 2]); };
  int largest[4];
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    largest[part] = __vimax3_s32(bits(8 * part), bits(8 * part + 1), bits(8 * part + 2));
    largest[part] = __vimax3_s32(largest[part], bits(8 * part + 3), bits(8 * part + 4));
    largest[part] = __vimax3_s32(largest[part], bits(8 * part + 5), bits(8 * part + 6));
  }
  largest[0] = __vimax3_s32(largest[0], bits(7), largest[1]);
  largest[2] = __vimax3_s32(largest[2], bits(15), largest[3]);
  largest[0] = __vimax3_s32(largest[0], bits(23), bits(31));
  return max(largest[0], largest[2]);
}
__device__ __forceinline__ int largest_bits_of_row(int x) {
  x = max(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return max(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

/// The same for any scores.
template <int kHalf>
__device__ __forceinline__ float largest_float(const HopperScores& scores) {
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < kHopperKeys / 4; ++i) largest = fmaxf(largest, scores[i / 2][2 * kHalf + i % 2]);
  return largest;
}

/// The largest score of each of the thread's two rows.
__device__ __forceinline__ void find_largest(const HopperScores& scores, float (&largest)[2]) {
  const int bits[2] = {largest_bits_of_row(largest_bits<0>(scores)), largest_bits_of_row(largest_bits<1>(scores))};
  largest[0] = __int_as_float(bits[0]);
  largest[1] = __int_as_float(bits[1]);
  if (__any_sync(0xffffffffU, (bits[0] | bits[1]) < 0)) [[unlikely]] {
    largest[0] = max_of_row(largest_float<0>(scores));
    largest[1] = max_of_row(largest_float<1>(scores));
  }
}

/// max <- max(max, scores), p = exp2(scores - max), sum <- rescale * sum + sum of p. Returns rescale = exp2(old max - max), O's factor, in `rescale`.
/// Sums of four neighbours each keep the additions from waiting for one another; their order is one for all steps.
__device__ __forceinline__ void fold_scores(HopperScores& scores, float factor, float (&max)[2], float (&sum)[2], float (&rescale)[2]) {
  constexpr int kQuads = kHopperKeys / 8;
  float largest[2];
  find_largest(scores, largest);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float new_max = fmaxf(max[half], __fmul_rn(largest[half], factor));
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
__device__ inline void wait_for_turn(unsigned group) { meet(static_cast<int>(1 + group), 2 * kWarpgroupThreads); }
template <int kGroups>
__device__ void pass_turn(unsigned group) {
  meet_later(static_cast<int>(group + 1 == kGroups ? 1 : 2 + group), 2 * kWarpgroupThreads);
}

/// Folds the steps of all tiles.
template <class Stored, int kColumns>
__device__ __forceinline__ void consume_steps(const HopperForwardBlock<Stored, kColumns>& block, const Consumer& me) {
  using Block = HopperForwardBlock<Stored, kColumns>;
  constexpr int kGroups = Block::Shape::kGroups;
  const auto& p = block.p;
  auto& shared = block.shared;
  auto& barriers = block.barriers;
  const float factor = p.score_factor;
  typename Block::StagePlace key_stage, value_stage;
  typename Block::SlotPlace slot;
  HopperScores scores;
  HopperProbabilities probabilities;
  HopperOutput<kColumns> o;
  float max[2], sum[2], rescale[2];

  barriers.keys.wait_until_full(key_stage);
  unsigned flags = flags_of(shared.steps[key_stage.index]);
  if ((flags & PublishedStep::kEnd) != 0) return;
  barriers.queries.wait_until_full(slot);
  load_sums(p, me, shared.own[slot.index], max, sum);
  load_part(p.o, me, shared.own[slot.index], o);
  pin(scores);
  begin_products();
  begin_scores<Stored>(scores, shared, me.group, 0, key_stage.index);
  wait_for_groups<0>();
  pin(scores);
  finish_scores(block, me, scores, slot.index, key_stage.index, flags);
  barriers.keys.release(key_stage, me.is_first_lane);
  key_stage.advance();
  fold_scores(scores, factor, max, sum, rescale);
  rescale_output(o, rescale);
  round_probabilities<Stored>(scores, probabilities);
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
    const unsigned query_slot = uniform(static_cast<unsigned>(next_slot.index));
    wait_for_turn(me.group);
    pin(scores);
    pin(o);
    begin_products();
    begin_scores<Stored>(scores, shared, me.group, query_slot, key_stage.index);
    if (!has_values) barriers.values.wait_until_full(value_stage);
    begin_products();
    begin_output<Stored, kColumns>(o, probabilities, shared, value_stage.index);
    pass_turn<kGroups>(me.group);
    wait_for_groups<1>();
    pin(scores);
    if ((flags & PublishedStep::kIsPartial) != 0 || p.score_sign != 1.0F) [[unlikely]] {
      finish_scores(block, me, scores, next_slot.index, key_stage.index, flags);
    }
    pin(scores);
    barriers.keys.release(key_stage, me.is_first_lane);
    key_stage.advance();
    const bool has_keys = barriers.keys.is_full(key_stage);
    if ((flags & PublishedStep::kBeginsTile) != 0) [[unlikely]] {
      store_sums(p, me, shared.own[slot.index], max, sum);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        max[half] = next_max[half];
        sum[half] = next_sum[half];
      }
    }
    fold_scores(scores, factor, max, sum, rescale);
    wait_for_groups<0>();
    pin(o);
    barriers.values.release(value_stage, me.is_first_lane);
    value_stage.advance();
    has_values = barriers.values.is_full(value_stage);
    if ((flags & PublishedStep::kBeginsTile) != 0) [[unlikely]] {
      store_part(p.o, me, shared.own[slot.index], o);
      __syncwarp();
      barriers.queries.release(slot, me.is_first_lane);
      slot = next_slot;
      load_part(p.o, me, shared.own[slot.index], o);
    }
    if (!has_keys) barriers.keys.wait_until_full(key_stage);
    flags = flags_of(shared.steps[key_stage.index]);
    rescale_output(o, rescale);
    round_probabilities<Stored>(scores, probabilities);
  }
  barriers.values.wait_until_full(value_stage);
  pin(o);
  begin_products();
  begin_output<Stored, kColumns>(o, probabilities, shared, value_stage.index);
  wait_for_groups<0>();
  pin(o);
  store_sums(p, me, shared.own[slot.index], max, sum);
  store_part(p.o, me, shared.own[slot.index], o);
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

#pragma once

#include "core/cuda/hopper_tiles.cuh"

// What the consumers of the Hopper kernels share: a warpgroup has 64 rows of the own tile, in the layout of the products' accumulators.
namespace hilbertring {

/// The same in all lanes, as the compiler can see: what is made of it stays in uniform registers, where products want their factors' addresses.
__device__ inline unsigned uniform(unsigned x) { return __reduce_or_sync(0xffffffffU, x); }

/// Who a thread of the consumers is. Kept in registers: special registers and division are slow, and the warpgroup's number must be seen to be
/// uniform.
struct Consumer {
  unsigned group;    ///< warpgroup, from 0
  int first_row;     ///< of the two rows of the tile, kRowGap apart, that the thread shares with three others
  int first_column;  ///< of the two columns, of every eight, that the thread has
  bool is_first_lane;

  __device__ Consumer() {
    // By a shuffle that changes nothing: else the assembler would ask the special register again and again.
    const int thread = __shfl_sync(0xffffffffU, static_cast<int>(threadIdx.x) - kWarpgroupThreads, static_cast<int>(threadIdx.x) % kWarpThreads);
    group = uniform(static_cast<unsigned>(thread / kWarpgroupThreads));
    first_row = thread / kWarpThreads * 16 + thread % kWarpThreads / 4;
    first_column = thread % 4 * 2;
    is_first_lane = thread % kWarpThreads == 0;
  }
};

/// Warpgroups hand products in by turns, the first one first, or, if not kAreTaken, as they like: names of their barriers are 1, 2, ...; 0 is the
/// thread block's.
template <int kGroups, bool kAreTaken = true>
struct Turns {
  __device__ static void wait_for(unsigned group) {
    if constexpr (kAreTaken) meet(static_cast<int>(1 + group), 2 * kWarpgroupThreads);
  }
  __device__ static void pass(unsigned group) {
    if constexpr (kAreTaken) meet_later(static_cast<int>(group + 1 == kGroups ? 1 : 2 + group), 2 * kWarpgroupThreads);
  }
  __device__ static void begin(unsigned group) {
    if (group == kGroups - 1) pass(group);
  }
  /// Behind the last pass(): nobody else takes the turn that the last warpgroup has passed on.
  __device__ static void end(unsigned group) {
    if (group == 0) wait_for(group);
  }
};

/// Calls visit(half, row of the shard) for the thread's rows that exist.
template <class Visit>
__device__ void for_each_row_of_consumer(const Consumer& me, const OwnTile& own, Visit&& visit) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = me.first_row + 8 * half;
    if (row < own.num_rows) visit(half, own.first_row + row * own.stride);
  }
}

/// Rows between a thread's two in accumulators.
inline constexpr int kRowGap = 8;

/// Calls visit(address of two neighbours, or of nothing that exists; whether they exist; element of c) for the thread's part of the own rows.
template <int kGap, int kQuads, class Visit>
__device__ __forceinline__ void for_each_two(const DeviceRows<float>& tensor, const Consumer& me, const OwnTile& own, float (&c)[kQuads][4],
                                             Visit&& visit) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = me.first_row + kGap * half;
    float* const first = tensor.row(own.batch, own.head, own.first_row + row * own.stride) + me.first_column;
    const int num_columns = row < own.num_rows ? static_cast<int>(tensor.columns) : 0;
#pragma unroll
    for (int n = 0; n < kQuads; ++n) visit(reinterpret_cast<float2*>(first + 8 * n), 8 * n < num_columns, &c[n][2 * half]);
  }
}

/// The own rows of a float32 tensor to accumulators, and back. What does not exist is 0.
template <int kGap = kRowGap, int kQuads>
__device__ __forceinline__ void load_part(const DeviceRows<float>& tensor, const Consumer& me, const OwnTile& own, float (&c)[kQuads][4]) {
  for_each_two<kGap>(tensor, me, own, c, [](const float2* from, bool exists, float* to) {
    const float2 two = exists ? *from : float2{0.0F, 0.0F};
    to[0] = two.x;
    to[1] = two.y;
  });
}

template <int kGap = kRowGap, int kQuads>
__device__ __forceinline__ void store_part(const DeviceRows<float>& tensor, const Consumer& me, const OwnTile& own, float (&c)[kQuads][4]) {
  for_each_two<kGap>(tensor, me, own, c, [](float2* to, bool exists, const float* from) {
    if (exists) *to = make_float2(from[0], from[1]);
  });
}

/// Bits of the thread's columns (it has two of every eight) that lie below a limit.
__device__ inline std::uint32_t columns_below(const Consumer& me, int limit) {
  const int rest = max(limit - me.first_column, 0);
  const int count = rest / 8 * 2 + min(rest % 8, 2);
  return count >= 32 ? ~0U : (1U << count) - 1;
}

/// Bit i tells whether the thread's column i of kColumns / 4 makes an allowed pair with the row.
template <int kColumns, Owner kOwner>
__device__ inline std::uint32_t allowed_columns(const Consumer& me, const TileMask<kOwner>& mask, int row) {
  const ColumnRange range = mask.columns(row);
  std::uint32_t allowed = columns_below(me, range.end) & ~columns_below(me, range.begin);
  if (!mask.asks_elements) return allowed;
    // A loop apart from the scores: unrolled among them it would not fit the instruction cache.
#pragma unroll 8
  for (int i = 0; i < kColumns / 4; ++i) {
    const bool is_in_range = (allowed >> i & 1U) != 0;
    if (is_in_range && !mask.allows(row, me.first_column + i / 2 * 8 + i % 2)) allowed &= ~(1U << i);
  }
  return allowed;
}

}  // namespace hilbertring

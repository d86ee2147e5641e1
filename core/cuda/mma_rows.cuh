#pragma once

#include <cstdint>

#include "core/cuda/mma.cuh"
#include "core/cuda/walk.cuh"

// What the tensor-core kernels share: four warps, each with 16 kRowBlocks consecutive rows of the tile that their thread block owns.
namespace hilbertring {

inline constexpr int kMmaWarps = 4;
inline constexpr int kMmaThreads = kMmaWarps * kWarpThreads;

/// What shared memory and registers leave room for: one block's barriers and loads hide behind another's products.
constexpr int blocks_per_multiprocessor(int num_columns) { return num_columns <= 64 ? 3 : num_columns <= 128 ? 2 : 1; }

/// First row of the tile that the calling thread shares.
template <int kRowBlocks>
__device__ int first_row_of_thread() {
  return static_cast<int>(threadIdx.x) / kWarpThreads * 16 * kRowBlocks + static_cast<int>(threadIdx.x) % kWarpThreads / 4;
}

/// Calls visit(block, half, row of the tile) for the rows that the calling thread shares and that exist.
template <int kRowBlocks, class Visit>
__device__ void for_each_row(int num_rows, Visit&& visit) {
  const int first_row = first_row_of_thread<kRowBlocks>();
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 16 * block + 8 * half;
      if (row < num_rows) visit(block, half, row);
    }
  }
}

/// Elements of forbidden pairs become `value`. Returns how many of the thread's are allowed.
template <Owner kOwner, int kRowBlocks>
__device__ unsigned mask_tile(Accumulator (&c)[kRowBlocks][8], const TileMask<kOwner>& mask, float value) {
  const int first_row = first_row_of_thread<kRowBlocks>();
  const int first_column = static_cast<int>(threadIdx.x) % 4 * 2;
  unsigned num_allowed = 0;
#pragma unroll
  for (int block = 0; block < kRowBlocks; ++block) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + 16 * block + 8 * half;
      const ColumnRange range = mask.columns(row);
#pragma unroll
      for (int i = 0; i < 16; ++i) {
        const int column = first_column + i / 2 * 8 + i % 2;
        const bool is_allowed = range.contains(column) && (!mask.asks_elements || mask.allows(row, column));
        num_allowed += is_allowed ? 1U : 0U;
        float& element = c[block][i / 2][2 * half + i % 2];
        element = is_allowed ? element : value;
      }
    }
  }
  return num_allowed;
}

/// The own tile's rows of a float32 tensor, kColumns of them from `first_column` on, to accumulators, and back. Rows and columns that do not exist
/// are 0.
template <int kColumns, int kRowBlocks>
__device__ void load_rows(const DeviceRows<float>& tensor, const OwnTile& own, int first_column, Accumulator (&c)[kRowBlocks][kColumns / 8]) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
  for (auto& block : c) {
#pragma unroll
    for (auto& quad : block) quad[0] = quad[1] = quad[2] = quad[3] = 0.0F;
  }
  for_each_row<kRowBlocks>(own.num_rows, [&](int block, int half, int row) {
    const float* from = tensor.row(own.batch, own.head, own.first_row + row * own.stride) + first_column + pair;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      if (first_column + 8 * n >= tensor.columns) continue;
      const float2 two = *reinterpret_cast<const float2*>(from + 8 * n);
      c[block][n][2 * half] = two.x;
      c[block][n][2 * half + 1] = two.y;
    }
  });
}

template <int kColumns, int kRowBlocks>
__device__ void store_rows(const DeviceRows<float>& tensor, const OwnTile& own, int first_column, const Accumulator (&c)[kRowBlocks][kColumns / 8]) {
  const int pair = static_cast<int>(threadIdx.x) % 4 * 2;
  for_each_row<kRowBlocks>(own.num_rows, [&](int block, int half, int row) {
    float* to = tensor.row(own.batch, own.head, own.first_row + row * own.stride) + first_column + pair;
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n) {
      if (first_column + 8 * n >= tensor.columns) continue;
      *reinterpret_cast<float2*>(to + 8 * n) = make_float2(c[block][n][2 * half], c[block][n][2 * half + 1]);
    }
  });
}

/// Times first, first + stride, ... to shared memory, one thread each. kRows <= kMmaThreads.
template <int kRows>
__device__ void copy_times_async(std::int64_t* to, const std::int64_t* first, std::int64_t stride, int num_rows) {
  if (threadIdx.x >= kRows) return;
  const bool is_valid = static_cast<int>(threadIdx.x) < num_rows;
  copy_async_8(shared_address(to + threadIdx.x), first + (is_valid ? threadIdx.x * stride : 0), is_valid);
}

}  // namespace hilbertring

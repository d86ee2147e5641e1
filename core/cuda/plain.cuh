#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/cuda/walk.cuh"

// Float32 and float64 in plain fused multiply-adds: the GPU's own reference. A thread block of 16 x 16 threads owns a tile of 64 rows and folds tiles
// of 64 others into it; a thread holds rows 4 ty + i and columns tx + 16 j of a 64 x 64 tile. Results stay in global memory, each element of them
// touched by one thread only.
namespace hilbertring {

inline constexpr int kPlainRows = 64;
inline constexpr int kPlainSide = 16;
inline constexpr int kPlainThreads = kPlainSide * kPlainSide;
/// Columns of two factors that are in shared memory at a time; one more in each row keeps columns in different banks.
inline constexpr int kSlab = 32;
static_assert(kPlainRows == kOtherRows);

template <class Real>
using PlainTile = Real[4][4];

template <class Real>
struct PlainShared {
  Real left[kPlainRows][kSlab + 1], right[kPlainRows][kSlab + 1];
  Real factors[kPlainRows][kPlainRows + 1];
  Real columns[kPlainRows][kPlainRows];
  std::int64_t own_times[kPlainRows], other_times[kPlainRows];
};

/// Rows of a matrix in global memory, `num_rows` of them.
template <class T>
struct StridedRows {
  T* first;
  std::int64_t stride;  ///< in elements
  std::int32_t num_rows;

  __device__ T* row(int index) const { return first + index * stride; }
};

__device__ inline int thread_row() { return static_cast<int>(threadIdx.x) / kPlainSide * 4; }
__device__ inline int thread_column() { return static_cast<int>(threadIdx.x) % kPlainSide; }

/// Columns [begin, begin + kWidth) of 64 rows to shared memory, zeros where there are none.
template <int kWidth, int kPitch, class Real>
__device__ void load_columns(Real (&to)[kPlainRows][kPitch], const StridedRows<const Real>& rows, int begin, int num_columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kPlainRows * kWidth; i += kPlainThreads) {
    const int row = i / kWidth;
    const int column = i % kWidth;
    const bool exists = row < rows.num_rows && begin + column < num_columns;
    to[row][column] = exists ? rows.row(row)[begin + column] : Real{0};
  }
}

/// c = A B^T: rows of A by rows of B.
template <class Real>
__device__ void multiply_rows(PlainTile<Real>& c, const StridedRows<const Real>& a, const StridedRows<const Real>& b, int num_columns,
                              PlainShared<Real>& shared) {
  for (auto& row : c) row[0] = row[1] = row[2] = row[3] = 0;
  for (int begin = 0; begin < num_columns; begin += kSlab) {
    __syncthreads();
    load_columns<kSlab>(shared.left, a, begin, num_columns);
    load_columns<kSlab>(shared.right, b, begin, num_columns);
    __syncthreads();
#pragma unroll 8
    for (int d = 0; d < kSlab; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          c[i][j] = fma(shared.left[thread_row() + i][d], shared.right[thread_column() + kPlainSide * j][d], c[i][j]);
        }
      }
    }
  }
}

/// results = rescale * results + F B with F the thread block's tile of factors: [64, 64], B: the 64 other rows. rescale: of the thread's four rows.
template <class Real>
__device__ void add_product(const PlainTile<Real>& factors, const Real (&rescale)[4], const StridedRows<const Real>& b, int num_columns,
                            const StridedRows<Real>& results, PlainShared<Real>& shared) {
  __syncthreads();
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) shared.factors[thread_row() + i][thread_column() + kPlainSide * j] = factors[i][j];
  }
  for (int begin = 0; begin < num_columns; begin += kPlainRows) {
    __syncthreads();
    load_columns<kPlainRows>(shared.columns, b, begin, num_columns);
    __syncthreads();
    const auto for_each_result = [&](auto&& visit) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int column = begin + thread_column() + kPlainSide * j;
          if (thread_row() + i < results.num_rows && column < num_columns) visit(i, j, results.row(thread_row() + i)[column]);
        }
      }
    };
    PlainTile<Real> c = {};
    for_each_result([&](int i, int j, const Real& result) { c[i][j] = result * rescale[i]; });
#pragma unroll 8
    for (int k = 0; k < kPlainRows; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) c[i][j] = fma(shared.factors[thread_row() + i][k], shared.columns[k][thread_column() + kPlainSide * j], c[i][j]);
      }
    }
    for_each_result([&](int i, int j, Real& result) { result = c[i][j]; });
  }
}

/// Over the 16 threads that share four rows; the same bits in each of them.
template <class Real>
__device__ Real max_of_row(Real x) {
  for (int distance = 1; distance < kPlainSide; distance *= 2) x = fmax(x, __shfl_xor_sync(0xffffffffU, x, distance));
  return x;
}
template <class Real>
__device__ Real sum_of_row(Real x) {
  for (int distance = 1; distance < kPlainSide; distance *= 2) x += __shfl_xor_sync(0xffffffffU, x, distance);
  return x;
}

/// Calls visit(row, column, element) for the thread's elements of a tile.
template <class Real, class Visit>
__device__ void for_each_element(PlainTile<Real>& tile, Visit&& visit) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) visit(thread_row() + i, thread_column() + kPlainSide * j, tile[i][j]);
  }
}

template <Owner kOwner>
__device__ bool is_allowed_pair(const TileMask<kOwner>& mask, int row, int column) {
  return mask.columns(row).contains(column) && (!mask.asks_elements || mask.allows(row, column));
}

/// Calls fold(step) for all that the thread block's tile meets, with the times of both sides in shared memory.
template <Owner kOwner, class Real, class Fold>
__device__ void walk_plainly(const WorkView& work, const OwnTile& own, PlainShared<Real>& shared, Fold&& fold) {
  const std::int64_t* own_times = kOwner == Owner::kQueries ? work.query_times : work.key_times;
  const std::int64_t* other_times = kOwner == Owner::kQueries ? work.key_times : work.query_times;
  const int thread = static_cast<int>(threadIdx.x);
  const bool has_times = work.causal == Causal::kSequence;
  if (has_times && thread < own.num_rows) shared.own_times[thread] = own_times[own.first_row + thread * own.stride];
  Walk<kOwner> walk;
  walk.start(own);
  for (Step step = walk.next(work); step.tile_class != TileClass::kEmpty; step = walk.next(work)) {
    __syncthreads();
    const RowRun& rows = work.meetings[step.meeting].rows;
    if (has_times && thread < step.num_rows) shared.other_times[thread] = other_times[rows.first_row + (step.first_index + thread) * rows.stride];
    __syncthreads();
    fold(step);
  }
}

/// Rows of a tensor that an own tile, or a step's other rows, stand for.
template <class T>
__device__ StridedRows<T> own_rows(const DeviceRows<T>& tensor, const OwnTile& own, std::int32_t head) {
  return {tensor.row(own.batch, head, own.first_row), own.stride * tensor.columns, own.num_rows};
}
template <class T>
__device__ StridedRows<T> other_rows(const DeviceRows<T>& tensor, const WorkView& work, const Step& step, std::int32_t batch, std::int32_t head) {
  const RowRun& rows = work.meetings[step.meeting].rows;
  return {tensor.row(batch, head, rows.first_row + step.first_index * rows.stride), rows.stride * tensor.columns, step.num_rows};
}

}  // namespace hilbertring

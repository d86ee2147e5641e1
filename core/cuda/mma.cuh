#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/element_type.h"

// Tensor cores by mma.sync.m16n8k16: PTX ISA, "Warp Level Matrix Multiply-Accumulate". Lane 4 g + t of a warp holds, of a 16 x 8 accumulator, columns
// 2t and 2t + 1 of rows g and g + 8: hence an accumulator, rounded, is the left factor of the next product without leaving its registers.
namespace hilbertring {

inline constexpr int kWarpThreads = 32;
/// Bytes that a copy and a row of an 8 x 8 matrix have: 8 elements.
inline constexpr int kPieceBytes = 16;
inline constexpr int kPieceElements = 8;

using Accumulator = float[4];
using LeftFragment = std::uint32_t[4];

__device__ inline std::uint32_t shared_address(const void* pointer) { return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer)); }

/// 16 (or 8, 4) bytes from global to shared memory, asynchronously; zeros if `is_valid` is false: `from` is not read then.
__device__ inline void copy_async_16(std::uint32_t to, const void* from, bool is_valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(is_valid ? 16 : 0) : "memory");
}
__device__ inline void copy_async_8(std::uint32_t to, const void* from, bool is_valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(is_valid ? 8 : 0) : "memory");
}
__device__ inline void copy_async_4(std::uint32_t to, const void* from, bool is_valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(is_valid ? 4 : 0) : "memory");
}
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Rows of kColumns 16-bit elements in shared memory. The pieces of a row are permuted by its number, so that eight rows of one column of pieces lie
/// in different banks, however they are read.
template <int kColumns>
struct SharedTile {
  static constexpr int kPitch = kColumns * 2;
  static constexpr int kPieces = kColumns / kPieceElements;
  static constexpr int num_bytes(int rows) { return rows * kPitch; }

  std::uint32_t base;

  __device__ std::uint32_t piece(int row, int index) const {
    return base + static_cast<std::uint32_t>(row * kPitch + ((index ^ (row & 7)) * kPieceBytes));
  }
};

/// Rows first, first + stride, ... of a matrix (in elements) to shared memory; what lies outside num_rows x num_columns becomes zero.
template <int kRows, int kColumns, int kThreads, class Stored>
__device__ void copy_rows_async(SharedTile<kColumns> tile, const Stored* first, std::int64_t stride, int num_rows, int num_columns) {
  constexpr int kRowsAtOnce = kThreads / SharedTile<kColumns>::kPieces;
  const int index = static_cast<int>(threadIdx.x) % SharedTile<kColumns>::kPieces;
  const int first_row = static_cast<int>(threadIdx.x) / SharedTile<kColumns>::kPieces;
  const bool is_column = index * kPieceElements < num_columns;
  const Stored* from = first + first_row * stride + index * kPieceElements;
#pragma unroll
  for (int i = 0; i < kRows / kRowsAtOnce; ++i) {
    const int row = first_row + i * kRowsAtOnce;
    const bool is_valid = is_column && row < num_rows;
    copy_async_16(tile.piece(row, index), is_valid ? from : first, is_valid);
    from += kRowsAtOnce * stride;
  }
}

__device__ inline void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ inline void load_matrices_transposed(std::uint32_t (&r)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

/// c += a b. a: 16 x 16, b: 16 x 8.
template <class Stored>
__device__ void multiply_add(Accumulator& c, const LeftFragment& a, std::uint32_t b0, std::uint32_t b1) {
  if constexpr (std::is_same_v<Stored, Float16>) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// Two floats, rounded to nearest even, the first in the lower half.
template <class Stored>
__device__ std::uint32_t round_pair(float low, float high) {
  std::uint32_t pair;
  if constexpr (std::is_same_v<Stored, Float16>) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  }
  return pair;
}

/// A 16 x 64 accumulator as the left factor of four products over 16 columns each.
template <class Stored>
__device__ void round_to_left_fragments(LeftFragment (&left)[4], const Accumulator (&c)[8]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    left[k][0] = round_pair<Stored>(c[2 * k][0], c[2 * k][1]);
    left[k][1] = round_pair<Stored>(c[2 * k][2], c[2 * k][3]);
    left[k][2] = round_pair<Stored>(c[2 * k + 1][0], c[2 * k + 1][1]);
    left[k][3] = round_pair<Stored>(c[2 * k + 1][2], c[2 * k + 1][3]);
  }
}

/// c = A B^T for 16 kBlocks rows of A from `first_row` on and the 64 rows of B.
template <class Stored, int kColumns, int kBlocks>
__device__ void multiply_rows(Accumulator (&c)[kBlocks][8], SharedTile<kColumns> a, int first_row, SharedTile<kColumns> b) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
#pragma unroll
  for (auto& block : c) {
#pragma unroll
    for (auto& quad : block) quad[0] = quad[1] = quad[2] = quad[3] = 0.0F;
  }
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
    LeftFragment left[kBlocks];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) load_matrices(left[block], a.piece(first_row + 16 * block + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      std::uint32_t right[4];
      load_matrices(right, b.piece(16 * n + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        multiply_add<Stored>(c[block][2 * n], left[block], right[0], right[1]);
        multiply_add<Stored>(c[block][2 * n + 1], left[block], right[2], right[3]);
      }
    }
  }
}

/// c += P B for the 64 rows of B and kOutColumns of its columns, from piece `first_piece` on.
template <class Stored, int kOutColumns, int kColumns, int kBlocks>
__device__ void add_product(Accumulator (&c)[kBlocks][kOutColumns / 8], const LeftFragment (&p)[kBlocks][4], SharedTile<kColumns> b,
                            int first_piece) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
#pragma unroll
    for (int n = 0; n < kOutColumns / 16; ++n) {
      std::uint32_t right[4];
      load_matrices_transposed(right, b.piece(16 * k + lane % 16, first_piece + 2 * n + lane / 16));
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        multiply_add<Stored>(c[block][2 * n], p[block][k], right[0], right[1]);
        multiply_add<Stored>(c[block][2 * n + 1], p[block][k], right[2], right[3]);
      }
    }
  }
}

/// 2^x to 2 ulp; exactly 1 for 0, 0 for -infinity.
__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Over the four lanes that share a row of an accumulator; the same bits in each of them.
__device__ inline float max_of_row(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}
__device__ inline float sum_of_row(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}

}  // namespace hilbertring

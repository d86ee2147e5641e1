#pragma once

#include <cuda.h>

#include <cstdint>

#include "core/element_type.h"

// Hopper's own instructions (sm_90a): barriers of transactions, bulk copies of tensors, products of warpgroups, registers handed over. PTX ISA,
// "Asynchronous Warpgroup Level Matrix Instructions" and "Data Movement and Conversion".
namespace hilbertring {

inline constexpr int kWarpgroupThreads = 128;

/// An mbarrier in shared memory: a phase ends when `num_arrivals` have arrived and all bytes that they announced have landed.
__device__ inline void init_barrier(std::uint32_t barrier, int num_arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(num_arrivals) : "memory");
}
/// After the last init_barrier, before the barrier of the thread block that publishes them.
__device__ inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::: "memory"); }
__device__ inline void arrive(std::uint32_t barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared::cta.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}
__device__ inline void arrive_expecting(std::uint32_t barrier, int num_bytes) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.expect_tx.shared::cta.b64 state, [%0], %1;\n}" ::"r"(barrier), "r"(num_bytes) : "memory");
}
/// Waits for the end of the phase of this parity; the phase before the first counts as ended, with parity 1.
__device__ inline void wait_for(std::uint32_t barrier, std::uint32_t parity) {
  asm volatile(
      "{\n.reg .pred is_over;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 is_over, [%0], %1;\n"
      "@!is_over bra again;\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Arrives when the calling thread's copies (cp.async) so far have landed.
__device__ inline void arrive_after_copies(std::uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}
/// Whether the phase has ended; asked early, so that nobody need wait for the answer.
__device__ inline bool is_over(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t over;
  asm volatile(
      "{\n.reg .pred is_over;\n"
      "mbarrier.test_wait.parity.shared::cta.b64 is_over, [%1], %2;\n"
      "selp.u32 %0, 1, 0, is_over;\n}"
      : "=r"(over)
      : "r"(barrier), "r"(parity)
      : "memory");
  return over != 0;
}

/// Makes what this thread wrote to shared memory visible to products and bulk copies, once the others have met it at a barrier.
__device__ inline void publish_to_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/// A box of a tensor of rank 4 to shared memory; its bytes count at the barrier. Places outside the tensor become 0.
__device__ inline void copy_box(std::uint32_t to, const CUtensorMap* map, const std::int32_t (&at)[4], std::uint32_t barrier) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to), "l"(map),
               "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(barrier)
               : "memory");
}
/// Multiples of 16 bytes to shared memory; they count at the barrier.
__device__ inline void copy_bytes(std::uint32_t to, const void* from, int num_bytes, std::uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "l"(from), "r"(num_bytes),
               "r"(barrier)
               : "memory");
}
/// Likewise, of bytes that nobody will read again: they give way first in the second-level cache.
__device__ inline void copy_bytes_once(std::uint32_t to, const void* from, int num_bytes, std::uint32_t barrier) {
  asm volatile(
      "{\n.reg .b64 policy;\n"
      "createpolicy.fractional.L2::evict_first.b64 policy, 1.0;\n"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], policy;\n}" ::"r"(to),
      "l"(from), "r"(num_bytes), "r"(barrier)
      : "memory");
}
/// Multiples of 16 bytes, as far as the second-level cache.
__device__ inline void prefetch_bytes(const void* from, int num_bytes) {
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(num_bytes) : "memory");
}

/// Registers per thread of the calling warpgroup, from here on.
template <int kCount>
__device__ void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

/// A barrier of some warps: `num_threads` meet, some of whom may go on without waiting.
__device__ inline void meet(int name, int num_threads) { asm volatile("barrier.sync %0, %1;" ::"r"(name), "r"(num_threads) : "memory"); }
__device__ inline void meet_later(int name, int num_threads) { asm volatile("barrier.arrive %0, %1;" ::"r"(name), "r"(num_threads) : "memory"); }

/// Products run behind the program's back, in groups: the accumulators and left factors of one may not be touched from its begin to its end.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void end_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kGroupsLeft>
__device__ void wait_for_groups() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroupsLeft) : "memory");
}
/// Keeps the compiler from moving uses of accumulators over a begin or a wait.
template <int kQuads>
__device__ __forceinline__ void pin(float (&c)[kQuads][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kQuads; ++i) asm volatile("" : "+f"(c[i / 4][i % 4])::"memory");
}

template <class Stored>
struct WgmmaTypes;
template <>
struct WgmmaTypes<Float16> {
  static constexpr const char name[] = ".f16.f16";
};
template <>
struct WgmmaTypes<Bfloat16> {
  static constexpr const char name[] = ".bf16.bf16";
};

/// How a product finds a factor in shared memory: pieces of 8 rows x 128 bytes, swizzled by 128 bytes, follow each other down the rows. `panel_bytes`
/// lie between 64 columns and the next 64, and matter only where the product sums over rows. (The upper half of the instruction's descriptor is one
/// for all: made in the instruction, it costs nothing to move on by some bytes.)
struct SharedFactor {
  static constexpr std::uint32_t kHigh = 1024 / 16 | 1U << 30;

  std::uint32_t low;

  __device__ SharedFactor(std::uint32_t address, int panel_bytes) : low(address / 16 | static_cast<std::uint32_t>(panel_bytes / 16) << 16) {}
  __device__ SharedFactor moved_by(int num_bytes) const {
    SharedFactor moved = *this;
    moved.low += static_cast<std::uint32_t>(num_bytes / 16);
    return moved;
  }
};

// The instruction's letters: a warpgroup's 64 rows x 8 kQuads columns, 16 summands. Lane 4 g + t of warp w holds, of every 8 columns, 2t and 2t + 1
// of rows 16 w + g and 16 w + g + 8: what mma.sync's accumulators and left factors hold, too.

/// c (+)= A B, both in shared memory. B: rows of B are columns of the product; or, transposed, rows are summed over. A: rows are the product's; or,
/// transposed, rows are summed over.
template <class Stored, bool kTransposed, bool kTransposedLeft = false, int kQuads>
__device__ __forceinline__ void multiply_add_shared(float (&c)[kQuads][4], SharedFactor a, SharedFactor b, bool accumulates) {
  static_assert(kQuads == 8 || kQuads == 16);
  if constexpr (kQuads == 8) {
    asm volatile(
        "{\n.reg .pred accumulates;\n.reg .b64 a, b;\n"
        "setp.ne.b32 accumulates, %34, 0;\n"
        "mov.b64 a, {%32, %37};\n"
        "mov.b64 b, {%33, %37};\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32%36 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "a, b, accumulates, 1, 1, %38, %35;\n}\n"
        : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]),
          "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
          "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]),
          "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3])
        : "r"(a.low), "r"(b.low), "r"(accumulates ? 1 : 0), "n"(kTransposed), "C"(WgmmaTypes<Stored>::name), "n"(SharedFactor::kHigh),
          "n"(kTransposedLeft));
  } else {
    asm volatile(
        "{\n.reg .pred accumulates;\n.reg .b64 a, b;\n"
        "setp.ne.b32 accumulates, %66, 0;\n"
        "mov.b64 a, {%64, %69};\n"
        "mov.b64 b, {%65, %69};\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32%68 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "a, b, accumulates, 1, 1, %70, %67;\n}\n"
        : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]),
          "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
          "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]),
          "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3]), "+f"(c[8][0]), "+f"(c[8][1]), "+f"(c[8][2]), "+f"(c[8][3]),
          "+f"(c[9][0]), "+f"(c[9][1]), "+f"(c[9][2]), "+f"(c[9][3]), "+f"(c[10][0]), "+f"(c[10][1]), "+f"(c[10][2]), "+f"(c[10][3]), "+f"(c[11][0]),
          "+f"(c[11][1]), "+f"(c[11][2]), "+f"(c[11][3]), "+f"(c[12][0]), "+f"(c[12][1]), "+f"(c[12][2]), "+f"(c[12][3]), "+f"(c[13][0]),
          "+f"(c[13][1]), "+f"(c[13][2]), "+f"(c[13][3]), "+f"(c[14][0]), "+f"(c[14][1]), "+f"(c[14][2]), "+f"(c[14][3]), "+f"(c[15][0]),
          "+f"(c[15][1]), "+f"(c[15][2]), "+f"(c[15][3])
        : "r"(a.low), "r"(b.low), "r"(accumulates ? 1 : 0), "n"(kTransposed), "C"(WgmmaTypes<Stored>::name), "n"(SharedFactor::kHigh),
          "n"(kTransposedLeft));
  }
}

/// The same with A in registers.
template <class Stored, bool kTransposed, int kQuads>
__device__ __forceinline__ void multiply_add(float (&c)[kQuads][4], const std::uint32_t (&a)[4], SharedFactor b, bool accumulates) {
  static_assert(kQuads == 8 || kQuads == 16);
  if constexpr (kQuads == 8) {
    asm volatile(
        "{\n.reg .pred accumulates;\n.reg .b64 a, b;\n"
        "setp.ne.b32 accumulates, %37, 0;\n"
        "mov.b64 b, {%36, %40};\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32%39 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
        "{%32, %33, %34, %35}, b, accumulates, 1, 1, %38;\n}\n"
        : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]),
          "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
          "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]),
          "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "r"(accumulates ? 1 : 0), "n"(kTransposed), "C"(WgmmaTypes<Stored>::name),
          "n"(SharedFactor::kHigh));
  } else {
    asm volatile(
        "{\n.reg .pred accumulates;\n.reg .b64 a, b;\n"
        "setp.ne.b32 accumulates, %69, 0;\n"
        "mov.b64 b, {%68, %72};\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32%71 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "{%64, %65, %66, %67}, b, accumulates, 1, 1, %70;\n}\n"
        : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]), "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3]), "+f"(c[2][0]),
          "+f"(c[2][1]), "+f"(c[2][2]), "+f"(c[2][3]), "+f"(c[3][0]), "+f"(c[3][1]), "+f"(c[3][2]), "+f"(c[3][3]), "+f"(c[4][0]), "+f"(c[4][1]),
          "+f"(c[4][2]), "+f"(c[4][3]), "+f"(c[5][0]), "+f"(c[5][1]), "+f"(c[5][2]), "+f"(c[5][3]), "+f"(c[6][0]), "+f"(c[6][1]), "+f"(c[6][2]),
          "+f"(c[6][3]), "+f"(c[7][0]), "+f"(c[7][1]), "+f"(c[7][2]), "+f"(c[7][3]), "+f"(c[8][0]), "+f"(c[8][1]), "+f"(c[8][2]), "+f"(c[8][3]),
          "+f"(c[9][0]), "+f"(c[9][1]), "+f"(c[9][2]), "+f"(c[9][3]), "+f"(c[10][0]), "+f"(c[10][1]), "+f"(c[10][2]), "+f"(c[10][3]), "+f"(c[11][0]),
          "+f"(c[11][1]), "+f"(c[11][2]), "+f"(c[11][3]), "+f"(c[12][0]), "+f"(c[12][1]), "+f"(c[12][2]), "+f"(c[12][3]), "+f"(c[13][0]),
          "+f"(c[13][1]), "+f"(c[13][2]), "+f"(c[13][3]), "+f"(c[14][0]), "+f"(c[14][1]), "+f"(c[14][2]), "+f"(c[14][3]), "+f"(c[15][0]),
          "+f"(c[15][1]), "+f"(c[15][2]), "+f"(c[15][3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "r"(accumulates ? 1 : 0), "n"(kTransposed), "C"(WgmmaTypes<Stored>::name),
          "n"(SharedFactor::kHigh));
  }
}

}  // namespace hilbertring

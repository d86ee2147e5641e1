#pragma once

#include <cstdint>
#include <span>

#include "core/cuda/hopper_maps.h"
#include "core/cuda/hopper_ptx.cuh"
#include "core/cuda/launch.cuh"
#include "core/cuda/mma.cuh"
#include "core/cuda/walk.cuh"

// How the Hopper kernels bring tiles to shared memory: one warp, the producer, walks the work and has the copy engine fill rings of stages, which
// warpgroups of consumers empty.
namespace hilbertring {

/// Distinct strides of a launch that the copy engine knows; tiles of further ones are copied by hand.
inline constexpr int kMaxMaps = 8;

/// One tensor as the producer sees it.
template <class Stored>
struct MappedRows {
  CUtensorMap maps[kMaxMaps];  ///< by stride index
  DeviceRows<const Stored> rows;
};

/// The tensor with a map for each of the first strides. Host.
template <class Stored>
MappedRows<Stored> mapped_rows(const ConstTensor& tensor, std::span<const std::int64_t> strides, std::int32_t box_rows) {
  MappedRows<Stored> mapped{.maps = {}, .rows = device_rows<Stored>(tensor)};
  for (std::size_t i = 0; i < strides.size() && i < kMaxMaps; ++i) mapped.maps[i] = make_row_map(tensor, strides[i], box_rows);
  return mapped;
}

/// Rows of kColumns 16-bit elements in shared memory as products read them: panels of 64 columns, one behind the other; the 16-byte pieces of a row
/// are permuted by its number (what the copy engine calls a swizzle of 128 bytes).
template <int kRows, int kColumns>
struct PanelTile {
  static constexpr int kPitch = 128;
  static constexpr int kPanelBytes = kRows * kPitch;
  static constexpr int kNumPanels = kColumns / 64;
  static constexpr int kNumBytes = kNumPanels * kPanelBytes;
  static constexpr int kPieces = kColumns / kPieceElements;

  __device__ static std::uint32_t piece(std::uint32_t base, int row, int index) {
    return base + static_cast<std::uint32_t>(index / 8 * kPanelBytes + row * kPitch + ((index % 8) ^ (row % 8)) * kPieceBytes);
  }
  /// The factor whose summed-over dimension is its columns, 16 of them a product, from a row on; and how far its columns numbered 16 step are.
  __device__ static SharedFactor by_rows(std::uint32_t base, int first_row) {
    return {base + static_cast<std::uint32_t>(first_row * kPitch), kPanelBytes};
  }
  __device__ static constexpr int column_step(int step) { return step / 4 * kPanelBytes + step % 4 * 32; }
  /// The factor whose summed-over dimension is its rows.
  __device__ static SharedFactor by_columns(std::uint32_t base) { return {base, kPanelBytes}; }
  __device__ static constexpr int row_step(int step) { return step * 16 * kPitch; }
};

/// A place in a ring of stages, with the parity of the phase in which its barriers are.
template <int kStages>
struct RingPlace {
  int index = 0;
  std::uint32_t parity = 0;

  __device__ void advance() {
    index = index + 1 == kStages ? 0 : index + 1;
    parity ^= index == 0 ? 1U : 0U;
  }
};

/// Barriers of a ring: the producer waits for `empty`, consumers for `full`.
template <int kStages>
struct RingBarriers {
  std::uint64_t full[kStages], empty[kStages];

  __device__ void init(int num_producers, int num_consumers) {
    for (int i = 0; i < kStages; ++i) {
      init_barrier(shared_address(&full[i]), num_producers);
      init_barrier(shared_address(&empty[i]), num_consumers);
    }
  }
  __device__ void wait_until_full(const RingPlace<kStages>& place) { wait_for(shared_address(&full[place.index]), place.parity); }
  __device__ bool is_full(const RingPlace<kStages>& place) { return is_over(shared_address(&full[place.index]), place.parity); }
  __device__ void wait_until_empty(const RingPlace<kStages>& place) { wait_for(shared_address(&empty[place.index]), place.parity ^ 1U); }
  __device__ std::uint32_t full_at(const RingPlace<kStages>& place) { return shared_address(&full[place.index]); }
  /// A consuming warp, as one.
  __device__ void release(const RingPlace<kStages>& place, bool is_first_lane) {
    __syncwarp();
    if (is_first_lane) arrive(shared_address(&empty[place.index]));
  }
};

/// Rows of a tile to be fetched: rows (index + i) * stride + residue of a plane (batch * heads + head), in the copy engine's terms, made before there
/// is room for them.
struct TileSource {
  std::int32_t plane, residue, index, stride, stride_index;
  std::int32_t num_rows;  ///< 0: nothing to fetch
};

/// The first row of a run.
__device__ inline TileSource run_source(const RowRun& run, std::int32_t plane) {
  const auto first_row = static_cast<std::uint32_t>(run.first_row);
  const auto stride = static_cast<std::uint32_t>(run.stride);
  return {plane,
          static_cast<std::int32_t>(first_row % stride),
          static_cast<std::int32_t>(first_row / stride),
          static_cast<std::int32_t>(stride),
          run.stride_index,
          1};
}
/// Rows of the run that `run` is the source of.
__device__ inline TileSource tile_source(TileSource run, std::int32_t first_index, std::int32_t num_rows) {
  run.index += first_index;
  run.num_rows = num_rows;
  return run;
}

/// Whether the copy engine can fetch a tile of so many rows.
template <int kRows>
__device__ bool is_fetchable(const TileSource& from) {
  return from.num_rows == kRows && from.stride_index < kMaxMaps;
}

/// Has the copy engine fetch a whole tile, whose bytes the barrier expects; one thread.
template <int kRows, int kColumns, class Stored>
__device__ void fetch_tile(std::uint32_t to, const MappedRows<Stored>& tensor, const TileSource& from, std::uint32_t barrier) {
  using Tile = PanelTile<kRows, kColumns>;
#pragma unroll
  for (int panel = 0; panel < Tile::kNumPanels; ++panel) {
    const std::int32_t at[4] = {panel * 64, from.residue, from.index, from.plane};
    copy_box(to + static_cast<std::uint32_t>(panel * Tile::kPanelBytes), &tensor.maps[from.stride_index], at, barrier);
  }
}

/// Copies a tile of fewer rows, or of a stride without a map, piece by piece; a warp. Rows that do not exist are not read and become 0.
/// `kAtOnce` pieces at a time cost registers.
template <int kRows, int kColumns, int kAtOnce = 4, class Stored>
__device__ void copy_tile(std::uint32_t to, const MappedRows<Stored>& tensor, const TileSource& from) {
  using Tile = PanelTile<kRows, kColumns>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpThreads;
  const std::int64_t first_row = static_cast<std::int64_t>(from.index) * from.stride + from.residue;
  const Stored* const first = tensor.rows.data + (from.plane * tensor.rows.rows + first_row) * tensor.rows.columns;
  const std::int64_t pitch = from.stride * tensor.rows.columns;
#pragma unroll kAtOnce
  for (int i = lane; i < kRows * Tile::kPieces; i += kWarpThreads) {
    const int row = i / Tile::kPieces;
    const int index = i % Tile::kPieces;
    const bool is_valid = row < from.num_rows && index * kPieceElements < tensor.rows.columns;
    copy_async_16(Tile::piece(to, row, index), is_valid ? first + row * pitch + index * kPieceElements : first, is_valid);
  }
}

/// Arrives at the barrier once, when the warp's copies so far have landed.
__device__ inline void arrive_after_copies_of_warp(std::uint32_t barrier) {
  wait_for_copies();
  publish_to_async_proxy();
  __syncwarp();
  if (threadIdx.x % kWarpThreads == 0) arrive(barrier);
}

/// Brings a tile and arrives at the barrier once; a warp.
template <int kRows, int kColumns, class Stored>
__device__ void load_tile(std::uint32_t to, const MappedRows<Stored>& tensor, const TileSource& from, std::uint32_t barrier) {
  if (is_fetchable<kRows>(from)) {
    if (threadIdx.x % kWarpThreads != 0) return;
    arrive_expecting(barrier, PanelTile<kRows, kColumns>::kNumBytes);
    fetch_tile<kRows, kColumns>(to, tensor, from, barrier);
  } else {
    copy_tile<kRows, kColumns>(to, tensor, from);
    arrive_after_copies_of_warp(barrier);
  }
}

/// Times of the rows; a warp. What follows at a barrier publishes them.
__device__ inline void load_times(std::int64_t* to, const std::int64_t* times, const TileSource& from) {
  for (int i = static_cast<int>(threadIdx.x) % kWarpThreads; i < from.num_rows; i += kWarpThreads) {
    to[i] = times[static_cast<std::int64_t>(from.index + i) * from.stride + from.residue];
  }
  __syncwarp();
}

}  // namespace hilbertring

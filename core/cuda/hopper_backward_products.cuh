#pragma once

#include "core/cuda/hopper_backward_block.cuh"

// What the kernels of the backward pass on Hopper do with one tile of the other side.
namespace hilbertring {

/// 64 own rows by 64 others: scores, probabilities and their gradients.
using BackwardTile = float[kHopperBackwardOthers / 8][4];
using BackwardFactor = std::uint32_t[kHopperBackwardOthers / 16][4];

/// Hands in c = A B^T for the warpgroup's rows of own tensor `which` and all of the other tensor `which`.
template <class Stored, class Shared>
__device__ __forceinline__ void begin_inner(BackwardTile& c, const Shared& shared, unsigned group, int which, int stage) {
  const SharedFactor own = Shared::OwnTileLayout::by_rows(shared_address(shared.own_data[which]), static_cast<int>(64 * group));
  const SharedFactor other = Shared::OtherTileLayout::by_rows(shared_address(shared.other_data[stage][which]), 0);
#pragma unroll
  for (int step = 0; step < Shared::kNumColumns / 16; ++step) {
    multiply_add_shared<Stored, false, false>(c, own.moved_by(Shared::OwnTileLayout::column_step(step)),
                                       other.moved_by(Shared::OtherTileLayout::column_step(step)), step > 0);
  }
  end_group();
}

/// Hands in c += A B for a left factor in registers and other tensor `which`, but does not end the group.
template <class Stored, class Shared>
__device__ __forceinline__ void begin_outer(float (&c)[Shared::kNumColumns / 8][4], const BackwardFactor& left, const Shared& shared, int which,
                                            int stage) {
  using Tile = typename Shared::OtherTileLayout;
  const SharedFactor right = Tile::by_columns(shared_address(shared.other_data[stage][which]));
#pragma unroll
  for (int step = 0; step < kHopperBackwardOthers / 16; ++step) {
    multiply_add<Stored, true>(c, left[step], right.moved_by(Tile::row_step(step)), true);
  }
}

template <class Stored>
__device__ __forceinline__ void round_tile(const BackwardTile& c, BackwardFactor& left) {
#pragma unroll
  for (int k = 0; k < kHopperBackwardOthers / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) left[k][i] = round_pair<Stored>(c[2 * k + i / 2][2 * (i % 2)], c[2 * k + i / 2][2 * (i % 2) + 1]);
  }
}

/// Which pairs of the thread's two rows are allowed, 16 bits a row. Asked before scores and gradients take their registers.
template <Owner kOwner>
__device__ __forceinline__ std::uint32_t allowed_pairs(const WorkView& work, const Consumer& me, const OwnTile& own, const Step& step,
                                                       const std::int64_t* own_times, const std::int64_t* other_times) {
  static_assert(kHopperBackwardOthers / 4 == 16);
  if (!__any_sync(0xffffffffU, step.tile_class == TileClass::kPartial)) return ~0U;
  const auto mask = tile_mask<kOwner>(work, own, step, own_times, other_times);
  return (allowed_columns<kHopperBackwardOthers>(me, mask, me.first_row) & 0xFFFFU) |
         allowed_columns<kHopperBackwardOthers>(me, mask, me.first_row + 8) << 16;
}

/// Probabilities of forbidden pairs become 0.
__device__ __forceinline__ void mask_probabilities(BackwardTile& c, std::uint32_t allowed) {
  if (!__any_sync(0xffffffffU, allowed != ~0U)) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int i = 0; i < kHopperBackwardOthers / 4; ++i) {
      float& element = c[i / 2][2 * half + i % 2];
      element = (allowed >> (16 * half + i) & 1U) != 0 ? element : 0.0F;
    }
  }
}

}  // namespace hilbertring

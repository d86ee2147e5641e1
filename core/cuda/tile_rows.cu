#include "core/cuda/hopper.h"
#include "core/cuda/hopper_backward.cuh"
#include "core/cuda/hopper_forward.cuh"
#include "core/cuda/mma_backward.cuh"
#include "core/cuda/mma_forward.cuh"
#include "core/cuda/plain.cuh"

namespace hilbertring {

namespace {
bool is_plain(ElementType type) { return type == ElementType::kFloat32 || type == ElementType::kFloat64; }
}  // namespace

TileRows forward_tile_rows(ElementType type, std::int64_t head_dim) {
  if (is_plain(type)) return {.own = kPlainRows, .other = kOtherRows};
  const bool on_hopper = type == ElementType::kFloat16 ? has_hopper_forward<Float16>(head_dim) : has_hopper_forward<Bfloat16>(head_dim);
  return on_hopper ? hopper_forward_tile_rows(head_dim) : TileRows{.own = mma_forward_rows(head_dim), .other = kOtherRows};
}

TileRows backward_tile_rows(ElementType type, std::int64_t head_dim) {
  if (is_plain(type)) return {.own = kPlainRows, .other = kOtherRows};
  const bool on_hopper = type == ElementType::kFloat16 ? has_hopper_backward<Float16>(head_dim) : has_hopper_backward<Bfloat16>(head_dim);
  return on_hopper ? TileRows{.own = kHopperBackwardOwnRows, .other = backward_others(head_dim)}
                   : TileRows{.own = kBackwardRows, .other = kOtherRows};
}

bool has_backward_rounds(ElementType type, std::int64_t head_dim) {
  if (is_plain(type) || head_dim <= 64) return false;
  return type == ElementType::kFloat16 ? has_hopper_backward<Float16>(head_dim) : has_hopper_backward<Bfloat16>(head_dim);
}

}  // namespace hilbertring

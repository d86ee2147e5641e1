#include "core/cuda/mma_backward.cuh"
#include "core/cuda/mma_forward.cuh"
#include "core/cuda/plain.cuh"

namespace hilbertring {

namespace {
bool is_plain(ElementType type) { return type == ElementType::kFloat32 || type == ElementType::kFloat64; }
}  // namespace

TileRows forward_tile_rows(ElementType type, std::int64_t head_dim) {
  return {.own = is_plain(type) ? kPlainRows : mma_forward_rows(head_dim), .other = kOtherRows};
}

TileRows backward_tile_rows(ElementType type, std::int64_t, Owner) {
  return {.own = is_plain(type) ? kPlainRows : kBackwardRows, .other = kOtherRows};
}

}  // namespace hilbertring

#include "ring/slice.h"

namespace hilbertring {

Shape Slice::shape_in(const Shape& whole) const {
  Shape shape = whole;
  shape.batch = num_batch;
  shape.kv_heads = num_kv_heads;
  shape.heads = num_kv_heads * whole.heads_per_kv_head();
  return shape;
}

std::vector<Slice> cut_in_two(const Shape& whole) {
  const Slice all{.first_batch = 0, .num_batch = whole.batch, .first_kv_head = 0, .num_kv_heads = whole.kv_heads};
  Slice first = all, second = all;
  if (whole.batch > 1) {
    first.num_batch = second.first_batch = whole.batch / 2;
    second.num_batch = whole.batch - first.num_batch;
  } else if (whole.kv_heads > 1) {
    first.num_kv_heads = second.first_kv_head = whole.kv_heads / 2;
    second.num_kv_heads = whole.kv_heads - first.num_kv_heads;
  } else {
    return {all};
  }
  return {first, second};
}

}  // namespace hilbertring

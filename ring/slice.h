#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"
#include "core/tensor.h"

namespace hilbertring {

/// Part of a problem that shares no row with the rest: batch elements of all heads, or KV heads of the only batch element with the query heads that
/// read them. So its tensors are runs of the whole's.
struct Slice {
  std::int64_t first_batch = 0, num_batch = 0;
  std::int64_t first_kv_head = 0, num_kv_heads = 0;

  Shape shape_in(const Shape& whole) const;
};

/// Two slices as equal as can be, or the whole where it can't be cut.
std::vector<Slice> cut_in_two(const Shape& whole);

/// The slice's part of a tensor of the whole; it has as many heads for each KV head.
template <class Byte>
BasicTensor<Byte> part_of(const BasicTensor<Byte>& whole, const Slice& slice, const Shape& shape) {
  if (whole.data == nullptr) return whole;
  const std::int64_t group = whole.heads / shape.kv_heads;
  BasicTensor<Byte> part = whole;
  part.batch = slice.num_batch;
  part.heads = slice.num_kv_heads * group;
  part.data = whole.row(slice.first_batch, slice.first_kv_head * group, LocalRow(0));
  return part;
}

}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <cstdint>

#include "core/element_type.h"
#include "core/index.h"

namespace hilbertring {

/// View of [batch, heads, rows, columns], row-major: how a shard lies in memory (each head's rows together). Files and the public interface have
/// [batch, rows, heads, columns] instead; redistribution turns one into the other.
template <class Byte>
struct BasicTensor {
  Byte* data = nullptr;
  ElementType type = ElementType::kFloat32;
  std::int64_t batch = 0;
  std::int64_t heads = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  std::int64_t row_bytes() const { return columns * hilbertring::size_bytes(type); }
  std::int64_t size_bytes() const { return batch * heads * rows * row_bytes(); }
  Byte* row(std::int64_t b, std::int64_t h, LocalRow r) const { return data + ((b * heads + h) * rows + r.value) * row_bytes(); }
  operator BasicTensor<const std::byte>() const { return {data, type, batch, heads, rows, columns}; }
};

using Tensor = BasicTensor<std::byte>;
using ConstTensor = BasicTensor<const std::byte>;

}  // namespace hilbertring

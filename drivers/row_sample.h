#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/shape.h"

namespace hilbertring {

struct RowPlace {
  std::int64_t batch = 0;
  std::int64_t head = 0;
  std::int64_t token = 0;
};

struct RowSample {
  std::optional<std::int64_t> num_rows;  ///< per tensor; empty: all
  std::uint64_t seed = 0;
};

/// All rows of a tensor with so many heads, or some drawn at random (with replacement); draws of different streams differ.
std::vector<RowPlace> rows_to_compare(const Shape& shape, std::int64_t heads, const RowSample& sample, std::uint64_t stream);

}  // namespace hilbertring

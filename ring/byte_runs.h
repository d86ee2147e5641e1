#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor.h"

namespace hilbertring {

class RowSelection;

/// `count` runs of `width` bytes each, `pitch` bytes from the begin of one to the begin of the next; the first begins at `offset`.
struct ByteRuns {
  std::int64_t offset = 0;
  std::int64_t width = 0;
  std::int64_t pitch = 0;
  std::int64_t count = 1;

  std::int64_t size_bytes() const { return width * count; }
  friend bool operator==(const ByteRuns&, const ByteRuns&) = default;
};

/// The selected rows of a tensor [B, heads, rows, *] as runs of its bytes: every byte of them once. None if there would be more than a copy engine
/// should be asked for one by one: then the rows are better packed.
std::optional<std::vector<ByteRuns>> byte_runs(const ConstTensor& tensor, const RowSelection& rows);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/case_file.h"

namespace hilbertring {

/// One dataset of two results, compared bit for bit.
struct BitDifference {
  TensorName name;
  std::int64_t num_elements = 0;
  std::int64_t num_different = 0;
  std::string first = {};  ///< the first element that differs, with both values; or why nothing could be compared; empty if all are equal
  bool is_equal() const { return first.empty(); }
};

/// All of o, lse, dq, dk, dv that either file has; one that is missing on a side, or has another type or shape there, is a difference. Reads in
/// bounded pieces.
std::vector<BitDifference> compare_bits(CaseFile& a, CaseFile& b);

}  // namespace hilbertring

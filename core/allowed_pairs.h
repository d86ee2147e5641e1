#pragma once

#include <cstdint>
#include <span>

#include "core/pattern.h"

namespace hilbertring {

/// Allowed pairs by what they cost a kernel: neighbouring rows of a block that causality leaves whole, of one that it cuts, or every r-th row.
struct AllowedPairs {
  std::int64_t whole = 0;
  std::int64_t cut = 0;
  std::int64_t dilated = 0;

  std::int64_t total() const { return whole + cut + dilated; }
  AllowedPairs& operator+=(const AllowedPairs& other) {
    whole += other.whole, cut += other.cut, dilated += other.dilated;
    return *this;
  }
  friend bool operator==(const AllowedPairs&, const AllowedPairs&) = default;
};

/// What `count_allowed_pairs` counts, by kind.
AllowedPairs count_allowed_pairs_by_kind(const Pattern& pattern, Range<Position> queries, Range<Position> keys,
                                         std::span<const std::int64_t> query_times, std::span<const std::int64_t> key_times);

}  // namespace hilbertring

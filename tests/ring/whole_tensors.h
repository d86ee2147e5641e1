#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "core/random.h"
#include "ring/redistribution.h"

namespace hilbertring::testing {

// Tensors whose entries are their own index in the file's [B, N, H, D], and orders of any kind: for tests of what moves rows.

struct Sizes {
  std::int64_t tokens, batch, heads, columns;

  constexpr std::int64_t row_bytes() const { return columns * 8; }
  constexpr std::int64_t token_bytes() const { return batch * heads * row_bytes(); }
};
inline constexpr Sizes kSizes[] = {{1, 1, 1, 1}, {2, 2, 3, 2}, {5, 1, 1, 8}, {64, 1, 2, 8}, {1000, 3, 5, 8}, {1013, 2, 1, 1}};

inline std::vector<std::int64_t> shuffled_tokens(std::int64_t num_tokens, std::uint64_t seed) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(num_tokens));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_bits(seed, 0, i) % i]);
  return order;
}

/// Rank r's part of the order, cut at random places, so that shards are of any length, also empty.
inline std::vector<std::int64_t> cut_rows(const std::vector<std::int64_t>& order, const Transport& transport, std::uint64_t seed) {
  std::vector<std::size_t> cuts = {0, order.size()};
  for (std::int64_t r = 1; r < transport.num_ranks(); ++r) cuts.push_back(random_bits(seed, 1, static_cast<std::uint64_t>(r)) % (order.size() + 1));
  std::ranges::sort(cuts);
  const auto me = static_cast<std::size_t>(transport.rank().value);
  return {order.begin() + static_cast<std::ptrdiff_t>(cuts[me]), order.begin() + static_cast<std::ptrdiff_t>(cuts[me + 1])};
}

/// Number of the entry in a file's [B, N, H, D].
inline std::int64_t entry(const Sizes& s, std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t d) {
  return ((b * s.tokens + t) * s.heads + h) * s.columns + d;
}

inline std::vector<std::int64_t> expected_slab(const Sizes& s, Range<SequenceIndex> slab, SlabLayout layout) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(s.batch * slab.size() * s.heads * s.columns));
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t i = 0; i < slab.size(); ++i) {
      for (std::int64_t h = 0; h < s.heads; ++h) {
        const std::int64_t row = layout == SlabLayout::kTokenMajor ? (b * slab.size() + i) * s.heads + h : (b * s.heads + h) * slab.size() + i;
        for (std::int64_t d = 0; d < s.columns; ++d) {
          values[static_cast<std::size_t>(row * s.columns + d)] = entry(s, b, slab.begin.value + i, h, d);
        }
      }
    }
  }
  return values;
}

inline std::vector<std::int64_t> expected_shard(const Sizes& s, std::span<const std::int64_t> rows) {
  std::vector<std::int64_t> values;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (const std::int64_t token : rows) {
        for (std::int64_t d = 0; d < s.columns; ++d) values.push_back(entry(s, b, token, h, d));
      }
    }
  }
  return values;
}

/// Eight-byte elements of any type will do: rows are moved as bytes.
template <class Byte, class Values>
BasicTensor<Byte> shard_view(Values& values, const Sizes& s, std::int64_t num_rows) {
  return {reinterpret_cast<Byte*>(values.data()), ElementType::kFloat64, s.batch, s.heads, num_rows, s.columns};
}

}  // namespace hilbertring::testing

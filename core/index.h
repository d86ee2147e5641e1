#pragma once

#include <compare>
#include <cstdint>

namespace hilbertring {

/// An index that can't be passed where an index of another space is meant.
template <class Space>
struct Index {
  std::int64_t value = 0;

  constexpr Index() = default;
  explicit constexpr Index(std::int64_t v) : value(v) {}

  friend constexpr auto operator<=>(Index, Index) = default;
  constexpr Index& operator++() { return ++value, *this; }
  friend constexpr Index operator+(Index i, std::int64_t n) { return Index(i.value + n); }
  friend constexpr Index operator-(Index i, std::int64_t n) { return Index(i.value - n); }
  friend constexpr std::int64_t operator-(Index a, Index b) { return a.value - b.value; }
};

using SequenceIndex = Index<struct SequenceSpace>;  ///< place of a token in the file: t
using Position = Index<struct CurveSpace>;          ///< place of a token on the curve: p
using LocalRow = Index<struct LocalSpace>;          ///< row in a rank's own buffers
using Rank = Index<struct RankSpace>;
using Chunk = Index<struct ChunkSpace>;  ///< run of `chunk` positions
using Unit = Index<struct UnitSpace>;    ///< what placement deals out: one chunk, or a pair of them (zigzag)

/// Half-open range [begin, end).
template <class I>
struct Range {
  I begin, end;

  constexpr std::int64_t size() const { return end - begin; }
  constexpr bool is_empty() const { return !(begin < end); }
  constexpr bool contains(I i) const { return begin <= i && i < end; }
  friend constexpr bool operator==(Range, Range) = default;
};

template <class I>
constexpr Range<I> intersection(Range<I> a, Range<I> b) {
  const I begin = a.begin < b.begin ? b.begin : a.begin;
  const I end = a.end < b.end ? a.end : b.end;
  return {begin, end < begin ? begin : end};
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace hilbertring

#include "ring/placement.h"

#include <algorithm>

namespace hilbertring {

ChunkPlacement::ChunkPlacement(std::int64_t num_tokens, std::int64_t chunk, Placement placement, std::int64_t num_ranks)
    : num_tokens_(num_tokens), chunk_(chunk), placement_(placement), num_ranks_(num_ranks) {}

Range<Position> ChunkPlacement::positions(Chunk c) const {
  return {Position(c.value * chunk_), Position(std::min((c.value + 1) * chunk_, num_tokens_))};
}

std::vector<Chunk> ChunkPlacement::chunks(Unit u) const {
  const Chunk low(u.value);
  if (placement_ == Placement::kContiguous) return {low};
  const Chunk high(num_chunks() - 1 - u.value);
  return low == high ? std::vector{low} : std::vector{low, high};
}

Range<Unit> ChunkPlacement::units(Rank k) const {
  const std::int64_t base = num_units() / num_ranks_;
  const std::int64_t extra = num_units() % num_ranks_;
  const std::int64_t begin = k.value * base + std::min(k.value, extra);
  return {Unit(begin), Unit(begin + base + (k.value < extra ? 1 : 0))};
}

Rank ChunkPlacement::owner(Unit u) const {
  const std::int64_t base = num_units() / num_ranks_;
  const std::int64_t extra = num_units() % num_ranks_;
  const std::int64_t in_longer = extra * (base + 1);
  return u.value < in_longer ? Rank(u.value / (base + 1)) : Rank(extra + (u.value - in_longer) / base);
}

std::vector<Range<Position>> ChunkPlacement::spans(Rank k) const {
  const Range<Unit> held = units(k);
  if (held.is_empty()) return {};
  const Position low_begin = positions(Chunk(held.begin.value)).begin;
  const Position low_end = positions(Chunk(held.end.value - 1)).end;
  if (placement_ == Placement::kContiguous) return {{low_begin, low_end}};
  // The mirrored chunks; a middle unit of one chunk belongs to the low span.
  const std::int64_t high_begin = std::max(num_chunks() - held.end.value, held.end.value);
  const std::int64_t high_end = num_chunks() - held.begin.value;
  if (high_begin >= high_end) return {{low_begin, low_end}};
  const Range<Position> high{positions(Chunk(high_begin)).begin, positions(Chunk(high_end - 1)).end};
  if (high.begin == low_end) return {{low_begin, high.end}};
  return {{low_begin, low_end}, high};
}

std::int64_t ChunkPlacement::num_rows(Rank k) const {
  std::int64_t rows = 0;
  for (const Range<Position>& span : spans(k)) rows += span.size();
  return rows;
}

std::int64_t ChunkPlacement::max_rows() const {
  std::int64_t rows = 0;
  for (Rank k(0); k.value < num_ranks_; ++k) rows = std::max(rows, num_rows(k));
  return rows;
}

ChunkRows ChunkPlacement::rows(Rank k, Chunk c) const {
  const Range<Position> chunk_positions = positions(c);
  std::int64_t before = 0;
  for (const Range<Position>& span : spans(k)) {
    if (span.contains(chunk_positions.begin)) return {chunk_positions, LocalRow(before + (chunk_positions.begin - span.begin))};
    before += span.size();
  }
  return {{chunk_positions.begin, chunk_positions.begin}, LocalRow(0)};
}

}  // namespace hilbertring

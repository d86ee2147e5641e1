#include "core/cpu/cpu_tiles.h"

#include <algorithm>
#include <limits>

namespace hilbertring {

namespace {

constexpr std::int64_t kAlignment = 64;

/// Hands out aligned arrays one after the other; without memory it only counts.
class Carver {
 public:
  explicit Carver(std::byte* bytes) : bytes_(bytes) {}

  template <class T>
  T* take(std::int64_t count) {
    std::byte* at = bytes_ == nullptr ? nullptr : bytes_ + used_;
    used_ += round_up(count * static_cast<std::int64_t>(sizeof(T)), kAlignment);
    return reinterpret_cast<T*>(at);
  }
  std::int64_t used() const { return used_; }

 private:
  std::byte* bytes_;
  std::int64_t used_ = 0;
};

template <class Real>
std::int64_t carve(TileMemory<Real>& memory, std::byte* bytes, std::int64_t head_dim) {
  Carver carver(bytes);
  memory.row_stride = packed_stride(head_dim);
  memory.score_stride = packed_stride(kTileKeys);
  memory.keys_transposed = carver.take<Real>(head_dim * memory.score_stride);
  memory.values_transposed = carver.take<Real>(head_dim * memory.score_stride);
  memory.rows = carver.take<Real>(kTileKeys * memory.row_stride);
  memory.queries = carver.take<Real>(kTileQueries * memory.row_stride);
  memory.d_outputs = carver.take<Real>(kTileQueries * memory.row_stride);
  memory.scores = carver.take<Real>(kTileQueries * memory.score_stride);
  memory.d_scores = carver.take<Real>(kTileQueries * memory.score_stride);
  memory.rescale = carver.take<Real>(kTileQueries);
  memory.query_marks = carver.take<MaskTime<Real>>(kTileQueries);
  memory.key_marks = carver.take<MaskTime<Real>>(kTileKeys);
  return carver.used();
}

/// Asks about every pair: for blocks that are not full products, and for times too far apart for the fast mask.
template <class Real>
std::int64_t mask_element_by_element(const BlockContext& context, const Tile& queries, const Tile& keys, const TileMemory<Real>& memory) {
  const bool is_causal = context.pattern.is_causal();
  std::int64_t num_allowed = 0;
  for (std::int64_t i = 0; i < queries.count(); ++i) {
    const Position query = queries.run[i];
    const std::int64_t query_time = is_causal ? context.queries.time_of(query) : 0;
    for (std::int64_t j = 0; j < keys.count(); ++j) {
      const Position key = keys.run[j];
      const bool allowed = (context.block.all_pairs || context.branch.allows(context.head, query, key)) &&
                           (!is_causal || Pattern::causality_allows(query_time, context.keys.time_of(key)));
      if (allowed) {
        ++num_allowed;
      } else {
        memory.scores[i * memory.score_stride + j] = -std::numeric_limits<Real>::infinity();
      }
    }
  }
  return num_allowed;
}

}  // namespace

template <class Real>
TileMemory<Real>::TileMemory(std::byte* bytes, std::int64_t head_dim) {
  carve(*this, bytes, head_dim);
}

template <class Real>
std::int64_t TileMemory<Real>::num_bytes(std::int64_t head_dim) {
  TileMemory counted(nullptr, head_dim);
  return carve(counted, nullptr, head_dim);
}

Tile make_tile(const TimedRows& rows, const Run& run, const TileCut& cut, std::int64_t index) {
  const std::int64_t begin = index * cut.size;
  Tile tile{.run = {.first = run[begin], .stride = run.stride, .count = std::min(cut.size, cut.count - begin)},
            .first_row = rows.rows.row_of(run[begin])};
  if (rows.causal == Causal::kNone) return tile;
  if (rows.causal == Causal::kPosition) {
    tile.min_time = tile.run.first.value;
    tile.max_time = tile.run[tile.count() - 1].value;
    return tile;
  }
  tile.min_time = tile.max_time = rows.time_of(tile.run.first);
  for (std::int64_t i = 1; i < tile.count(); ++i) {
    const std::int64_t time = rows.time_of(tile.run[i]);
    tile.min_time = std::min(tile.min_time, time);
    tile.max_time = std::max(tile.max_time, time);
  }
  return tile;
}

std::vector<ChunkRows> cut_rows(const ChunkRows& rows, std::int64_t num_positions) {
  std::vector<ChunkRows> pieces;
  for (std::int64_t begin = 0; begin < rows.positions.size(); begin += num_positions) {
    const Position first = rows.positions.begin + begin;
    const Position end = std::min(first + num_positions, rows.positions.end);
    pieces.push_back({.positions = {first, end}, .first_row = rows.row_of(first)});
  }
  return pieces;
}

SourceRows source_rows(const ConstTensor& tensor, std::int64_t batch, std::int64_t head, const Tile& tile) {
  return {.first = tensor.row(batch, head, tile.first_row),
          .stride_bytes = tile.run.stride * tensor.row_bytes(),
          .type = tensor.type,
          .num_rows = tile.count(),
          .num_columns = tensor.columns};
}

TileClass class_of_tile(const BlockContext& context, const Tile& queries, const Tile& keys) {
  TileClass by_causality = TileClass::kFull;
  if (context.pattern.is_causal()) by_causality = context.pattern.causal_class(queries.min_time, queries.max_time, keys.min_time, keys.max_time);
  return by_causality == TileClass::kFull && !context.block.all_pairs ? TileClass::kPartial : by_causality;
}

template <class Real>
std::int64_t mask_tile(const BlockContext& context, const Tile& queries, const Tile& keys, const TileMemory<Real>& memory) {
  constexpr std::int64_t kLargest = std::numeric_limits<MaskTime<Real>>::max();
  // Marks are times from the earliest query on: keys before it count as 0, keys too late for a mark are later than all queries.
  const std::int64_t base = queries.min_time;
  if (!context.block.all_pairs || queries.max_time - base >= kLargest) return mask_element_by_element(context, queries, keys, memory);
  for (std::int64_t i = 0; i < queries.count(); ++i) {
    memory.query_marks[i] = static_cast<MaskTime<Real>>(context.queries.time_of(queries.run[i]) - base);
  }
  for (std::int64_t j = 0; j < keys.count(); ++j) {
    memory.key_marks[j] = static_cast<MaskTime<Real>>(std::clamp<std::int64_t>(context.keys.time_of(keys.run[j]) - base, 0, kLargest));
  }
  std::fill(memory.key_marks + keys.count(), memory.key_marks + round_up(keys.count(), kColumnBlock), static_cast<MaskTime<Real>>(kLargest));
  return mask_causal(CausalMask<Real>{.scores = memory.scores,
                                      .stride = memory.score_stride,
                                      .num_queries = queries.count(),
                                      .num_keys = keys.count(),
                                      .query_times = memory.query_marks,
                                      .key_times = memory.key_marks});
}

template struct TileMemory<float>;
template struct TileMemory<double>;
template std::int64_t mask_tile(const BlockContext&, const Tile&, const Tile&, const TileMemory<float>&);
template std::int64_t mask_tile(const BlockContext&, const Tile&, const Tile&, const TileMemory<double>&);

}  // namespace hilbertring

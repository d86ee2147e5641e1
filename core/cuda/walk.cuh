#pragma once

#include <cstdint>

#include "core/cuda/launch.cuh"
#include "core/pattern.h"

namespace hilbertring {

/// Rows of the other side that the portable kernels fold at a time.
inline constexpr int kOtherRows = 64;

/// The rows that a thread block owns.
struct OwnTile {
  std::int64_t first_row, first_position, stride;
  std::int64_t min_time, max_time;  ///< only with causality
  std::int32_t first_index;         ///< of its first row in the run
  std::int32_t num_rows;
  std::int32_t first_meeting, end_meeting;
  std::int32_t batch, head;
};

/// A tile of the other side: at least one pair with the own tile may be allowed. kEmpty: the end of the walk.
struct Step {
  TileClass tile_class = TileClass::kEmpty;
  std::int32_t meeting, first_index, num_rows;
};

__device__ inline TimeExtremes extremes_of(const WorkView& work, const RowRun& rows, std::int32_t first_index, std::int32_t num_rows,
                                           std::int32_t tile_rows) {
  if (work.causal == Causal::kSequence) return work.extremes[rows.first_extremes + first_index / tile_rows];
  const std::int64_t first = rows.first_position + first_index * rows.stride;
  return {first, first + (num_rows - 1) * rows.stride};
}

__device__ inline OwnTile own_tile(const WorkView& work, const WorkTile& tile, std::int32_t tile_rows) {
  const OwnRun& run = work.own_runs[tile.own_run];
  OwnTile own;
  own.first_index = tile.tile * tile_rows;
  own.num_rows = min(tile_rows, run.rows.count - own.first_index);
  own.stride = run.rows.stride;
  own.first_row = run.rows.first_row + own.first_index * own.stride;
  own.first_position = run.rows.first_position + own.first_index * own.stride;
  own.first_meeting = run.first_meeting;
  own.end_meeting = run.end_meeting;
  own.batch = tile.batch;
  own.head = tile.head;
  if (work.causal != Causal::kNone) {
    const TimeExtremes extremes = extremes_of(work, run.rows, own.first_index, own.num_rows, tile_rows);
    own.min_time = extremes.min;
    own.max_time = extremes.max;
  }
  return own;
}

/// Visits what an own tile meets: meetings in their order, tiles of a meeting ascending, empty ones left out. Kept in shared memory and advanced by
/// one thread, because the others need their registers.
template <Owner kOwner, std::int32_t kTileRows = kOtherRows>
struct Walk {
  OwnTile own;
  std::int32_t meeting;
  std::int32_t next_index;

  __device__ void start(const OwnTile& tile) {
    own = tile;
    meeting = tile.first_meeting;
    next_index = 0;
  }

  __device__ TileClass class_of(const WorkView& work, const Meeting& other, std::int32_t num_rows) const {
    TileClass by_causality = TileClass::kFull;
    if (work.causal != Causal::kNone) {
      const TimeExtremes extremes = extremes_of(work, other.rows, next_index, num_rows, kTileRows);
      by_causality = kOwner == Owner::kQueries ? Pattern::class_of_times(own.min_time, own.max_time, extremes.min, extremes.max)
                                               : Pattern::class_of_times(extremes.min, extremes.max, own.min_time, own.max_time);
    }
    const bool needs_mask = other.first_word >= 0 || num_rows < kTileRows;
    return by_causality == TileClass::kFull && needs_mask ? TileClass::kPartial : by_causality;
  }

  __device__ Step next(const WorkView& work) {
    while (meeting < own.end_meeting) {
      const Meeting& other = work.meetings[meeting];
      const std::int32_t num_rows = min(kTileRows, other.rows.count - next_index);
      const TileClass tile_class = num_rows > 0 ? class_of(work, other, num_rows) : TileClass::kEmpty;
      // Positions ascend: behind a tile of keys that is too late there are only later ones.
      const bool is_over = num_rows <= 0 || (kOwner == Owner::kQueries && work.causal == Causal::kPosition && tile_class == TileClass::kEmpty);
      const Step step{tile_class, meeting, next_index, num_rows};
      next_index = is_over ? 0 : next_index + kTileRows;
      meeting += is_over ? 1 : 0;
      if (tile_class != TileClass::kEmpty) return step;
    }
    return {};
  }
};

/// Columns [begin, end) of a row of a tile.
struct ColumnRange {
  int begin, end;

  __device__ bool contains(int column) const { return begin <= column && column < end; }
};

/// Tells, for a partial tile whose rows are the owner's and whose columns are the others, which pairs are allowed: those in the row's range of
/// columns (one pair of comparisons an element where times are positions) that, if `asks_elements`, pass allows(), too.
template <Owner kOwner>
struct TileMask {
  Causal causal;
  bool asks_elements;
  std::int32_t num_rows, num_columns;
  std::int64_t row_position, row_stride, column_position, column_stride;
  const std::int64_t* row_times;  ///< of the tile's rows, in shared memory; so are the columns'
  const std::int64_t* column_times;
  const std::uint32_t* words;  ///< of the tile's first query; null: all pairs
  std::int32_t words_per_row, first_key;

  __device__ ColumnRange columns(int row) const {
    if (row >= num_rows) return {0, 0};
    if (causal != Causal::kPosition) return {0, num_columns};
    // Where queries are rows, the last key that is not later; where keys are, the first query that is not earlier.
    const std::int64_t gap = row_position + row * row_stride - column_position;
    if constexpr (kOwner == Owner::kQueries) {
      if (gap >= num_columns * column_stride) return {0, num_columns};
      return {0, gap < 0 ? 0 : static_cast<int>(gap / column_stride) + 1};
    }
    return {gap <= 0 ? 0 : static_cast<int>(min((gap + column_stride - 1) / column_stride, static_cast<std::int64_t>(num_columns))), num_columns};
  }

  /// For a pair inside the row's range.
  __device__ bool allows(int row, int column) const {
    const int query = kOwner == Owner::kQueries ? row : column;
    const int bit = first_key + (kOwner == Owner::kQueries ? column : row);
    if (words != nullptr && (words[static_cast<std::int64_t>(query) * words_per_row + (bit >> 5)] >> (bit & 31) & 1U) == 0) return false;
    if (causal != Causal::kSequence) return true;
    return kOwner == Owner::kQueries ? Pattern::causality_allows(row_times[row], column_times[column])
                                     : Pattern::causality_allows(column_times[column], row_times[row]);
  }
};

template <Owner kOwner>
__device__ TileMask<kOwner> tile_mask(const WorkView& work, const OwnTile& own, const Step& step, const std::int64_t* own_times,
                                      const std::int64_t* other_times) {
  const Meeting& other = work.meetings[step.meeting];
  const std::int64_t first_query = kOwner == Owner::kQueries ? own.first_index : step.first_index;
  return {.causal = work.causal,
          .asks_elements = work.causal == Causal::kSequence || other.first_word >= 0,
          .num_rows = own.num_rows,
          .num_columns = step.num_rows,
          .row_position = own.first_position,
          .row_stride = own.stride,
          .column_position = other.rows.first_position + step.first_index * other.rows.stride,
          .column_stride = other.rows.stride,
          .row_times = own_times,
          .column_times = other_times,
          .words = other.first_word < 0 ? nullptr : work.mask_words + other.first_word + first_query * other.words_per_row,
          .words_per_row = other.words_per_row,
          .first_key = kOwner == Owner::kQueries ? step.first_index : own.first_index};
}

/// Adds each thread's count of allowed pairs to the counter; all threads of the warp take part.
__device__ inline void add_to_counter(unsigned long long* counter, unsigned num_allowed) {
  const unsigned sum = __reduce_add_sync(0xffffffffU, num_allowed);
  if (threadIdx.x % 32 == 0 && sum > 0) atomicAdd(counter, static_cast<unsigned long long>(sum));
}

}  // namespace hilbertring

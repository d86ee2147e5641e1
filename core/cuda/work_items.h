#pragma once

#include <cstdint>

namespace hilbertring {

/// Rows of one side of a block: first_row, first_row + stride, ..., `count` of them, at positions first_position, first_position + stride, ...
struct RowRun {
  std::int64_t first_row = 0;
  std::int64_t first_position = 0;
  std::int64_t stride = 1;
  std::int32_t count = 0;
  std::int32_t stride_index = 0;     ///< of the list's distinct strides
  std::int32_t first_extremes = -1;  ///< index of the first tile's extremes; -1 unless times are sequence indices
};

/// A thread block owns rows of a run and folds into them what these rows meet, in order.
struct OwnRun {
  RowRun rows;
  std::int32_t first_meeting = 0, end_meeting = 0;
};

struct Meeting {
  RowRun rows;
  std::int32_t head_offset = 0;    ///< of the query head in its KV head's group, where keys are the owners; else 0
  std::int32_t words_per_row = 0;  ///< of the mask
  std::int64_t first_word = -1;    ///< of the mask: bit j % 32 of word [i, j / 32] tells whether query i may see key j; -1: all pairs
};

/// What one thread block does: tile `tile` of an own run, for one batch element and one head (a KV head where keys are the owners).
struct WorkTile {
  std::int32_t own_run = 0, tile = 0, batch = 0, head = 0;
};

/// Rows whose earliest and latest times are asked for.
struct ExtremesTask {
  std::int64_t first_row = 0, stride = 1;
  std::int32_t count = 0;
  std::int32_t is_query = 0;
};
struct TimeExtremes {
  std::int64_t min = 0, max = 0;
};

}  // namespace hilbertring

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/block_attention.h"
#include "core/cpu/cpu_kernels.h"

namespace hilbertring {

/// Memory of one thread: packed operands and scores of one pair of tiles. Carved out of `bytes`, which must hold num_bytes(head_dim), aligned to 64.
template <class Real>
struct TileMemory {
  TileMemory(std::byte* bytes, std::int64_t head_dim);
  static std::int64_t num_bytes(std::int64_t head_dim);

  std::int64_t row_stride;      ///< of queries, d_outputs, rows: packed_stride(head_dim)
  std::int64_t score_stride;    ///< of the others: packed_stride(kTileKeys)
  Real* keys_transposed;        ///< [D, kTileKeys], times scale * log2(e)
  Real* values_transposed;      ///< [D, kTileKeys], times scale
  Real* rows;                   ///< [kTileKeys, D]: values (forward), keys (backward)
  Real *queries, *d_outputs;    ///< [kTileQueries, D]
  Real *scores, *d_scores;      ///< [kTileQueries, kTileKeys]
  Real* rescale;                ///< [kTileQueries]
  MaskTime<Real>* query_marks;  ///< [kTileQueries]: times as the mask compares them
  MaskTime<Real>* key_marks;    ///< [kTileKeys]
};

/// Rows of one side of a pair of chunks with their times.
struct TimedRows {
  ChunkRows rows;
  Causal causal;
  std::span<const std::int64_t> times;

  std::int64_t time_of(Position p) const { return causal == Causal::kPosition ? p.value : times[static_cast<std::size_t>(rows.row_of(p).value)]; }
};

/// Consecutive elements of a block's run, few enough for one call of the kernels.
struct Tile {
  Run run;
  LocalRow first_row;
  std::int64_t min_time = 0, max_time = 0;  ///< only with causality

  std::int64_t count() const { return run.count; }
};

/// How a run is cut: tiles as equal as the multiple lets them be. Depends on the length of the run only, as the fold law demands.
struct TileCut {
  TileCut(std::int64_t run_count, std::int64_t max_tile, std::int64_t multiple)
      : count(run_count), size(round_up(ceil_div(run_count, ceil_div(run_count, max_tile)), multiple)), num_tiles(ceil_div(run_count, size)) {}

  std::int64_t count, size, num_tiles;
};
inline TileCut query_tiles(const Run& run) { return {run.count, kTileQueries, kRowBlock}; }
inline TileCut key_tiles(const Run& run) { return {run.count, kTileKeys, kColumnBlock}; }

Tile make_tile(const TimedRows& rows, const Run& run, const TileCut& cut, std::int64_t index);

/// The chunk's pieces of at most `num_positions`, from its beginning: a grid that depends on nothing but the chunk.
std::vector<ChunkRows> cut_rows(const ChunkRows& rows, std::int64_t num_positions);

/// Rows of a tile in a tensor, as the packing functions take them.
SourceRows source_rows(const ConstTensor& tensor, std::int64_t batch, std::int64_t head, const Tile& tile);

/// What a mask depends on: a block of a branch, for one head, with the rows that it joins.
struct BlockContext {
  const Pattern& pattern;
  const Branch& branch;
  std::int64_t head;
  const Block& block;
  const TimedRows& queries;
  const TimedRows& keys;
};

/// Empty: nothing to do; full: no mask needed; partial: `mask_tile` must be called.
TileClass class_of_tile(const BlockContext& context, const Tile& queries, const Tile& keys);

/// Sets the scores of forbidden pairs of a partial tile to -inf; returns the number of allowed pairs.
template <class Real>
std::int64_t mask_tile(const BlockContext& context, const Tile& queries, const Tile& keys, const TileMemory<Real>& memory);

extern template struct TileMemory<float>;
extern template struct TileMemory<double>;
extern template std::int64_t mask_tile(const BlockContext&, const Tile&, const Tile&, const TileMemory<float>&);
extern template std::int64_t mask_tile(const BlockContext&, const Tile&, const Tile&, const TileMemory<double>&);

}  // namespace hilbertring

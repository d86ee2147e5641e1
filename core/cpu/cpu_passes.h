#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/block_attention.h"
#include "core/cpu/cpu_tiles.h"

namespace hilbertring {

/// Folds all keys of pairs into a piece of a query chunk, for one head of one batch element. One thread runs it; different heads, batch elements and
/// pieces may run at the same time.
template <class Real>
class ForwardPass {
 public:
  ForwardPass(const Pattern& pattern, const ForwardOperands& operands, TileMemory<Real> memory)
      : pattern_(pattern), operands_(operands), memory_(memory) {}

  /// `queries` is the piece, `key_chunks` the other sides of its pairs, in order. Returns the number of allowed pairs.
  std::int64_t fold(std::int64_t batch, std::int64_t head, const ChunkRows& queries, std::span<const ChunkRows> key_chunks);

 private:
  std::int64_t fold_block(const BlockContext& context, std::int64_t batch);
  std::int64_t fold_key_tile(const BlockContext& context, std::int64_t batch, const TileCut& cut, const Tile& keys);
  std::int64_t fold_tile(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries, const Tile& keys);
  void pack_keys(std::int64_t batch, std::int64_t kv_head, const Tile& keys);
  void compute_scores(std::int64_t batch, std::int64_t head, const Tile& queries, const Tile& keys);

  const Pattern& pattern_;
  const ForwardOperands& operands_;
  TileMemory<Real> memory_;
  std::vector<Block> blocks_;
};

/// Query heads [begin, end), all of one KV head.
struct HeadRange {
  std::int64_t begin, end;
};

/// Which results a backward pass adds to. Each result has the same bits however they are combined.
struct Results {
  bool dq = true;
  bool dk_and_dv = true;
};

/// Folds (piece of a query chunk, piece of a key chunk) for one KV head and some of its query heads. One thread runs it; passes that add to the
/// same rows of the same results may not run at the same time.
template <class Real>
class BackwardPass {
 public:
  BackwardPass(const Pattern& pattern, const BackwardOperands& operands, TileMemory<Real> memory, Results results)
      : pattern_(pattern), operands_(operands), memory_(memory), results_(results) {}

  /// Pieces are those of `cut_rows`, in order. Folds branch by branch, heads ascending, key pieces ascending, query pieces ascending.
  void fold(std::int64_t batch, HeadRange heads, std::span<const ChunkRows> queries, std::span<const ChunkRows> keys);

 private:
  void fold_pieces(std::int64_t batch, std::int64_t head, const Branch& branch, const ChunkRows& queries, const ChunkRows& keys);
  void fold_key_tile(const BlockContext& context, std::int64_t batch, const TileCut& cut, const Tile& keys);
  void fold_tile(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries, const Tile& keys);
  void pack_keys(std::int64_t batch, std::int64_t kv_head, const Tile& keys);
  void recompute_probabilities(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries, const Tile& keys);
  void add_to_dq(std::int64_t batch, std::int64_t head, const Tile& queries, const Tile& keys);
  void add_to_keys(const Tensor& result, const Real* factors, const Real* rows, std::int64_t batch, std::int64_t kv_head, const Tile& queries,
                   const Tile& keys);

  const Pattern& pattern_;
  const BackwardOperands& operands_;
  TileMemory<Real> memory_;
  Results results_;
  std::vector<Block> blocks_;
};

extern template class ForwardPass<float>;
extern template class ForwardPass<double>;
extern template class BackwardPass<float>;
extern template class BackwardPass<double>;

}  // namespace hilbertring

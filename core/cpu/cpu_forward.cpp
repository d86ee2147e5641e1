#include <numbers>

#include "core/cpu/cpu_passes.h"

namespace hilbertring {

template <class Real>
std::int64_t ForwardPass<Real>::fold(std::int64_t batch, std::int64_t head, const ChunkRows& queries, std::span<const ChunkRows> key_chunks) {
  const TimedRows timed_queries{.rows = queries, .causal = pattern_.causal(), .times = operands_.times.queries};
  std::int64_t num_pairs = 0;
  for (const ChunkRows& keys : key_chunks) {
    const TimedRows timed_keys{.rows = keys, .causal = pattern_.causal(), .times = operands_.times.keys};
    for (std::int64_t i = 0; i < pattern_.num_branches(); ++i) {
      const Branch& branch = pattern_.branch(i);
      if (!branch.has_head(head)) continue;
      blocks_.clear();
      branch.append_blocks(head, queries.positions, keys.positions, blocks_);
      for (const Block& block : blocks_) {
        num_pairs += fold_block({pattern_, branch, head, block, timed_queries, timed_keys}, batch);
      }
    }
  }
  return num_pairs;
}

template <class Real>
std::int64_t ForwardPass<Real>::fold_block(const BlockContext& context, std::int64_t batch) {
  const Block& block = context.block;
  if (block.queries.count == 0 || block.keys.count == 0) return 0;
  const TileCut query_cut = query_tiles(block.queries);
  const TileCut key_cut = key_tiles(block.keys);
  std::int64_t num_pairs = 0;
  for (std::int64_t j = 0; j < key_cut.num_tiles; ++j) {
    num_pairs += fold_key_tile(context, batch, query_cut, make_tile(context.keys, block.keys, key_cut, j));
  }
  return num_pairs;
}

template <class Real>
std::int64_t ForwardPass<Real>::fold_key_tile(const BlockContext& context, std::int64_t batch, const TileCut& cut, const Tile& keys) {
  bool is_packed = false;
  std::int64_t num_pairs = 0;
  for (std::int64_t i = 0; i < cut.num_tiles; ++i) {
    const Tile queries = make_tile(context.queries, context.block.queries, cut, i);
    const TileClass tile_class = class_of_tile(context, queries, keys);
    if (tile_class == TileClass::kEmpty) continue;
    if (!is_packed) pack_keys(batch, context.head / pattern_.shape().heads_per_kv_head(), keys);
    is_packed = true;
    num_pairs += fold_tile(context, batch, tile_class, queries, keys);
  }
  return num_pairs;
}

/// scores = Q K^T; p = exp2(scores - max); O = rescale * O + p V.
template <class Real>
std::int64_t ForwardPass<Real>::fold_tile(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries,
                                          const Tile& keys) {
  compute_scores(batch, context.head, queries, keys);
  const std::int64_t num_pairs = tile_class == TileClass::kFull ? queries.count() * keys.count() : mask_tile(context, queries, keys, memory_);
  if (num_pairs == 0) return 0;
  fold_softmax(SoftmaxFold<Real>{.scores = memory_.scores,
                                 .stride = memory_.score_stride,
                                 .num_queries = queries.count(),
                                 .num_keys = keys.count(),
                                 .row_max = reinterpret_cast<Real*>(operands_.row_max.row(batch, context.head, queries.first_row)),
                                 .row_sum = reinterpret_cast<Real*>(operands_.row_sum.row(batch, context.head, queries.first_row)),
                                 .state_stride = queries.run.stride,
                                 .rescale = memory_.rescale});
  const std::int64_t head_dim = operands_.o.columns;
  multiply(Product<Real>{.num_rows = queries.count(),
                         .num_columns = head_dim,
                         .num_inner = keys.count(),
                         .a = memory_.scores,
                         .a_row_stride = memory_.score_stride,
                         .a_inner_stride = 1,
                         .b = memory_.rows,
                         .b_stride = memory_.row_stride,
                         .c = reinterpret_cast<Real*>(operands_.o.row(batch, context.head, queries.first_row)),
                         .c_stride = queries.run.stride * head_dim,
                         .accumulate = true,
                         .rescale = memory_.rescale});
  return num_pairs;
}

template <class Real>
void ForwardPass<Real>::pack_keys(std::int64_t batch, std::int64_t kv_head, const Tile& keys) {
  // Scores come out in units of log2(e), so that exp is exp2: the factor rides on the keys, which are packed once for many queries.
  const auto factor = static_cast<Real>(operands_.scale * std::numbers::log2e);
  pack_transposed(source_rows(operands_.k, batch, kv_head, keys), factor, memory_.keys_transposed, memory_.score_stride);
  pack_rows(source_rows(operands_.v, batch, kv_head, keys), memory_.rows);
}

template <class Real>
void ForwardPass<Real>::compute_scores(std::int64_t batch, std::int64_t head, const Tile& queries, const Tile& keys) {
  const std::int64_t head_dim = operands_.q.columns;
  // Queries that are Real already are read where they lie, unless dilation spreads them: rows a page apart share cache sets.
  const Real* q = reinterpret_cast<const Real*>(operands_.q.row(batch, head, queries.first_row));
  std::int64_t q_stride = queries.run.stride * head_dim;
  if (operands_.q.type != operands_.o.type || queries.run.stride > 1) {
    pack_rows(source_rows(operands_.q, batch, head, queries), memory_.queries);
    q = memory_.queries;
    q_stride = memory_.row_stride;
  }
  multiply(Product<Real>{.num_rows = queries.count(),
                         .num_columns = round_up(keys.count(), kColumnBlock),
                         .num_inner = head_dim,
                         .a = q,
                         .a_row_stride = q_stride,
                         .a_inner_stride = 1,
                         .b = memory_.keys_transposed,
                         .b_stride = memory_.score_stride,
                         .c = memory_.scores,
                         .c_stride = memory_.score_stride});
}

template class ForwardPass<float>;
template class ForwardPass<double>;

}  // namespace hilbertring

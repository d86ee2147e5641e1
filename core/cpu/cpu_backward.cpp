#include <numbers>

#include "core/cpu/cpu_passes.h"

namespace hilbertring {

template <class Real>
void BackwardPass<Real>::fold(std::int64_t batch, HeadRange heads, std::span<const ChunkRows> queries, std::span<const ChunkRows> keys) {
  for (std::int64_t i = 0; i < pattern_.num_branches(); ++i) {
    const Branch& branch = pattern_.branch(i);
    for (std::int64_t head = heads.begin; head < heads.end; ++head) {
      if (!branch.has_head(head)) continue;
      for (const ChunkRows& key_piece : keys) {
        for (const ChunkRows& query_piece : queries) fold_pieces(batch, head, branch, query_piece, key_piece);
      }
    }
  }
}

template <class Real>
void BackwardPass<Real>::fold_pieces(std::int64_t batch, std::int64_t head, const Branch& branch, const ChunkRows& queries, const ChunkRows& keys) {
  const TimedRows timed_queries{.rows = queries, .causal = pattern_.causal(), .times = operands_.times.queries};
  const TimedRows timed_keys{.rows = keys, .causal = pattern_.causal(), .times = operands_.times.keys};
  blocks_.clear();
  branch.append_blocks(head, queries.positions, keys.positions, blocks_);
  for (const Block& block : blocks_) {
    if (block.queries.count == 0 || block.keys.count == 0) continue;
    const BlockContext context{pattern_, branch, head, block, timed_queries, timed_keys};
    const TileCut query_cut = query_tiles(block.queries);
    const TileCut key_cut = key_tiles(block.keys);
    for (std::int64_t j = 0; j < key_cut.num_tiles; ++j) fold_key_tile(context, batch, query_cut, make_tile(timed_keys, block.keys, key_cut, j));
  }
}

template <class Real>
void BackwardPass<Real>::fold_key_tile(const BlockContext& context, std::int64_t batch, const TileCut& cut, const Tile& keys) {
  bool is_packed = false;
  for (std::int64_t i = 0; i < cut.num_tiles; ++i) {
    const Tile queries = make_tile(context.queries, context.block.queries, cut, i);
    const TileClass tile_class = class_of_tile(context, queries, keys);
    if (tile_class == TileClass::kEmpty) continue;
    if (!is_packed) pack_keys(batch, context.head / pattern_.shape().heads_per_kv_head(), keys);
    is_packed = true;
    fold_tile(context, batch, tile_class, queries, keys);
  }
}

template <class Real>
void BackwardPass<Real>::pack_keys(std::int64_t batch, std::int64_t kv_head, const Tile& keys) {
  // `scale` of dq and dk rides on the values: scale * dS = P * (dO (scale V)^T - scale * delta).
  const SourceRows k = source_rows(operands_.k, batch, kv_head, keys);
  pack_transposed(k, static_cast<Real>(operands_.scale * std::numbers::log2e), memory_.keys_transposed, memory_.score_stride);
  pack_transposed(source_rows(operands_.v, batch, kv_head, keys), static_cast<Real>(operands_.scale), memory_.values_transposed,
                  memory_.score_stride);
  if (results_.dq) pack_rows(k, memory_.rows);
}

/// dV += P^T dO; dK += dS^T Q; dQ += dS K.
template <class Real>
void BackwardPass<Real>::fold_tile(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries, const Tile& keys) {
  recompute_probabilities(context, batch, tile_class, queries, keys);
  if (results_.dk_and_dv) {
    const std::int64_t kv_head = context.head / pattern_.shape().heads_per_kv_head();
    add_to_keys(operands_.dv, memory_.scores, memory_.d_outputs, batch, kv_head, queries, keys);
    add_to_keys(operands_.dk, memory_.d_scores, memory_.queries, batch, kv_head, queries, keys);
  }
  if (results_.dq) add_to_dq(batch, context.head, queries, keys);
}

/// P = exp2(Q K^T - lse2); dS = P * (dO V^T - delta).
template <class Real>
void BackwardPass<Real>::recompute_probabilities(const BlockContext& context, std::int64_t batch, TileClass tile_class, const Tile& queries,
                                                 const Tile& keys) {
  const std::int64_t head_dim = operands_.q.columns;
  pack_rows(source_rows(operands_.q, batch, context.head, queries), memory_.queries);
  pack_rows(source_rows(operands_.d_o, batch, context.head, queries), memory_.d_outputs);
  Product<Real> scores{.num_rows = queries.count(),
                       .num_columns = round_up(keys.count(), kColumnBlock),
                       .num_inner = head_dim,
                       .a = memory_.queries,
                       .a_row_stride = memory_.row_stride,
                       .a_inner_stride = 1,
                       .b = memory_.keys_transposed,
                       .b_stride = memory_.score_stride,
                       .c = memory_.scores,
                       .c_stride = memory_.score_stride};
  multiply(scores);
  if (tile_class == TileClass::kPartial) mask_tile(context, queries, keys, memory_);
  scores.a = memory_.d_outputs;
  scores.b = memory_.values_transposed;
  scores.c = memory_.d_scores;
  multiply(scores);
  differentiate_softmax(SoftmaxGradient<Real>{.scores = memory_.scores,
                                              .d_scores = memory_.d_scores,
                                              .stride = memory_.score_stride,
                                              .num_queries = queries.count(),
                                              .num_keys = keys.count(),
                                              .lse2 = reinterpret_cast<const Real*>(operands_.lse2.row(batch, context.head, queries.first_row)),
                                              .delta = reinterpret_cast<const Real*>(operands_.delta.row(batch, context.head, queries.first_row)),
                                              .state_stride = queries.run.stride,
                                              .scale = static_cast<Real>(operands_.scale)});
}

template <class Real>
void BackwardPass<Real>::add_to_dq(std::int64_t batch, std::int64_t head, const Tile& queries, const Tile& keys) {
  const std::int64_t head_dim = operands_.dq.columns;
  multiply(Product<Real>{.num_rows = queries.count(),
                         .num_columns = head_dim,
                         .num_inner = keys.count(),
                         .a = memory_.d_scores,
                         .a_row_stride = memory_.score_stride,
                         .a_inner_stride = 1,
                         .b = memory_.rows,
                         .b_stride = memory_.row_stride,
                         .c = reinterpret_cast<Real*>(operands_.dq.row(batch, head, queries.first_row)),
                         .c_stride = queries.run.stride * head_dim,
                         .accumulate = true});
}

template <class Real>
void BackwardPass<Real>::add_to_keys(const Tensor& result, const Real* factors, const Real* rows, std::int64_t batch, std::int64_t kv_head,
                                     const Tile& queries, const Tile& keys) {
  const std::int64_t head_dim = result.columns;
  multiply(Product<Real>{.num_rows = keys.count(),
                         .num_columns = head_dim,
                         .num_inner = queries.count(),
                         .a = factors,
                         .a_row_stride = 1,
                         .a_inner_stride = memory_.score_stride,
                         .b = rows,
                         .b_stride = memory_.row_stride,
                         .c = reinterpret_cast<Real*>(result.row(batch, kv_head, keys.first_row)),
                         .c_stride = keys.run.stride * head_dim,
                         .accumulate = true});
}

template class BackwardPass<float>;
template class BackwardPass<double>;

}  // namespace hilbertring

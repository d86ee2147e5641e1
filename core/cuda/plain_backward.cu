#include "core/cuda/plain.cuh"

namespace hilbertring {

namespace {

template <class Real>
struct PlainBackwardParameters {
  WorkView work;
  DeviceRows<const Real> q, d_o, k, v, lse2, delta;
  DeviceRows<Real> dq, dk, dv;
  Real scale, score_factor;  ///< scale, scale * log2(e)
};

/// Scalars of a query row; 0 for rows that don't exist, infinity in place of lse2 = -infinity: p = exp2(score - lse2) is 0 in a row without keys.
template <class Real>
struct RowScalars {
  Real shift, scaled_delta;
};
template <class Real>
__device__ RowScalars<Real> row_scalars(const PlainBackwardParameters<Real>& p, const StridedRows<const Real>& lse2,
                                        const StridedRows<const Real>& delta, int row) {
  if (row >= lse2.num_rows) return {0, 0};
  const Real shift = *lse2.row(row);
  return {shift == -static_cast<Real>(INFINITY) ? static_cast<Real>(INFINITY) : shift, p.scale * *delta.row(row)};
}

/// S becomes P = exp2(S - lse2), dP becomes dS = P * scale * (dP - delta). Rows of the tile are the owner's.
template <Owner kOwner, class Real>
__device__ void differentiate(const PlainBackwardParameters<Real>& p, const Step& step, const TileMask<kOwner>& mask,
                              const StridedRows<const Real>& lse2, const StridedRows<const Real>& delta, PlainTile<Real>& scores,
                              PlainTile<Real>& d_scores) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = thread_row() + i;
      const int column = thread_column() + kPlainSide * j;
      const int query = kOwner == Owner::kQueries ? row : column;
      const bool is_allowed = step.tile_class == TileClass::kFull || is_allowed_pair(mask, row, column);
      const RowScalars<Real> scalars = row_scalars(p, lse2, delta, query);
      scores[i][j] = is_allowed ? exp2(fma(scores[i][j], p.score_factor, -scalars.shift)) : Real{0};
      d_scores[i][j] = scores[i][j] * fma(d_scores[i][j], p.scale, -scalars.scaled_delta);
    }
  }
}

/// dQ += dS K.
template <class Real>
__global__ void __launch_bounds__(kPlainThreads) plain_query_gradient(const __grid_constant__ PlainBackwardParameters<Real> p) {
  extern __shared__ __align__(16) std::byte shared_bytes[];
  auto& shared = *reinterpret_cast<PlainShared<Real>*>(shared_bytes);
  const OwnTile own = own_tile(p.work, p.work.tiles[blockIdx.x], kPlainRows);
  const std::int32_t kv_head = own.head / p.work.heads_per_kv_head;
  const int num_columns = static_cast<int>(p.q.columns);
  walk_plainly<Owner::kQueries>(p.work, own, shared, [&](const Step& step) {
    const StridedRows<const Real> keys = other_rows(p.k, p.work, step, own.batch, kv_head);
    PlainTile<Real> scores, d_scores;
    multiply_rows(scores, own_rows(p.q, own, own.head), keys, num_columns, shared);
    multiply_rows(d_scores, own_rows(p.d_o, own, own.head), other_rows(p.v, p.work, step, own.batch, kv_head), num_columns, shared);
    const TileMask mask = tile_mask<Owner::kQueries>(p.work, own, step, shared.own_times, shared.other_times);
    differentiate<Owner::kQueries>(p, step, mask, own_rows(p.lse2, own, own.head), own_rows(p.delta, own, own.head), scores, d_scores);
    const Real rescale[4] = {1, 1, 1, 1};
    add_product(d_scores, rescale, keys, num_columns, own_rows(p.dq, own, own.head), shared);
  });
}

/// dV += P^T dO, dK += dS^T Q: the tile is S^T = K Q^T.
template <class Real>
__global__ void __launch_bounds__(kPlainThreads) plain_key_gradients(const __grid_constant__ PlainBackwardParameters<Real> p) {
  extern __shared__ __align__(16) std::byte shared_bytes[];
  auto& shared = *reinterpret_cast<PlainShared<Real>*>(shared_bytes);
  const OwnTile own = own_tile(p.work, p.work.tiles[blockIdx.x], kPlainRows);
  const int num_columns = static_cast<int>(p.q.columns);
  walk_plainly<Owner::kKeys>(p.work, own, shared, [&](const Step& step) {
    const std::int32_t head = own.head * p.work.heads_per_kv_head + p.work.meetings[step.meeting].head_offset;
    const StridedRows<const Real> queries = other_rows(p.q, p.work, step, own.batch, head);
    const StridedRows<const Real> d_outputs = other_rows(p.d_o, p.work, step, own.batch, head);
    PlainTile<Real> scores, d_scores;
    multiply_rows(scores, own_rows(p.k, own, own.head), queries, num_columns, shared);
    multiply_rows(d_scores, own_rows(p.v, own, own.head), d_outputs, num_columns, shared);
    const TileMask mask = tile_mask<Owner::kKeys>(p.work, own, step, shared.own_times, shared.other_times);
    differentiate<Owner::kKeys>(p, step, mask, other_rows(p.lse2, p.work, step, own.batch, head), other_rows(p.delta, p.work, step, own.batch, head),
                                scores, d_scores);
    const Real rescale[4] = {1, 1, 1, 1};
    add_product(scores, rescale, d_outputs, num_columns, own_rows(p.dv, own, own.head), shared);
    add_product(d_scores, rescale, queries, num_columns, own_rows(p.dk, own, own.head), shared);
  });
}

template <class Real>
PlainBackwardParameters<Real> plain_backward_parameters(const Launch& launch, const BackwardOperands& operands) {
  return {.work = work_view(launch, operands.times, operands.q, operands.k),
          .q = device_rows<Real>(operands.q),
          .d_o = device_rows<Real>(operands.d_o),
          .k = device_rows<Real>(operands.k),
          .v = device_rows<Real>(operands.v),
          .lse2 = device_rows<Real>(operands.lse2),
          .delta = device_rows<Real>(operands.delta),
          .dq = device_rows<Real>(operands.dq),
          .dk = device_rows<Real>(operands.dk),
          .dv = device_rows<Real>(operands.dv),
          .scale = static_cast<Real>(operands.scale),
          .score_factor = static_cast<Real>(operands.scale * std::numbers::log2e)};
}

template <class Real>
void launch_plain_backward(const Launch& launch, Owner owner, const BackwardOperands& operands) {
  launch_checked(owner == Owner::kQueries ? plain_query_gradient<Real> : plain_key_gradients<Real>, launch.num_tiles, kPlainThreads,
                 sizeof(PlainShared<Real>), launch.stream, plain_backward_parameters<Real>(launch, operands));
}

}  // namespace

template <>
void launch_query_gradient<float>(const Launch& launch, const BackwardOperands& operands) {
  launch_plain_backward<float>(launch, Owner::kQueries, operands);
}
template <>
void launch_query_gradient<double>(const Launch& launch, const BackwardOperands& operands) {
  launch_plain_backward<double>(launch, Owner::kQueries, operands);
}
template <>
void launch_key_gradients<float>(const Launch& launch, const BackwardOperands& operands) {
  launch_plain_backward<float>(launch, Owner::kKeys, operands);
}
template <>
void launch_key_gradients<double>(const Launch& launch, const BackwardOperands& operands) {
  launch_plain_backward<double>(launch, Owner::kKeys, operands);
}

}  // namespace hilbertring

#include "core/cuda/plain.cuh"

namespace hilbertring {

namespace {

template <class Real>
struct PlainForwardParameters {
  WorkView work;
  DeviceRows<const Real> q, k, v;
  DeviceRows<Real> row_max, row_sum, o;
  Real score_factor;  ///< scale * log2(e)
  unsigned long long* pair_counter;
};

/// Scores times the factor, -infinity where forbidden. Returns how many of the thread's are allowed.
template <class Real>
__device__ unsigned finish_scores(PlainTile<Real>& scores, Real factor, bool is_partial, const TileMask<Owner::kQueries>& mask) {
  unsigned num_allowed = 0;
  for_each_element(scores, [&](int row, int column, Real& score) {
    const bool is_allowed = is_partial ? is_allowed_pair(mask, row, column) : row < mask.num_rows;
    num_allowed += is_allowed ? 1U : 0U;
    score = is_allowed ? score * factor : -static_cast<Real>(INFINITY);
  });
  return num_allowed;
}

/// Scores become p = exp2(score - max), max and sum of the rows are folded on; returns exp2(old max - max) in `rescale`.
template <class Real>
__device__ void fold_scores(const PlainForwardParameters<Real>& p, const OwnTile& own, PlainTile<Real>& scores, Real (&rescale)[4]) {
  for (int i = 0; i < 4; ++i) {
    const bool exists = thread_row() + i < own.num_rows;
    const std::int64_t row = own.first_row + (exists ? thread_row() + i : 0) * own.stride;
    Real* const stored_max = p.row_max.row(own.batch, own.head, row);
    Real* const stored_sum = p.row_sum.row(own.batch, own.head, row);
    const Real old_max = *stored_max;
    const Real old_sum = *stored_sum;
    const Real largest = max_of_row(fmax(fmax(scores[i][0], scores[i][1]), fmax(scores[i][2], scores[i][3])));
    const Real new_max = fmax(old_max, largest);
    // A row that has seen no key yet keeps its zeros; infinity minus infinity would make them NaN.
    const Real shift = new_max == -static_cast<Real>(INFINITY) ? Real{0} : new_max;
    rescale[i] = exp2(old_max - shift);
    Real sum = 0;
    for (Real& score : scores[i]) {
      score = exp2(score - shift);
      sum += score;
    }
    sum = sum_of_row(sum);
    // All threads of the row have read: the shuffles waited for them.
    if (!exists || thread_column() != 0) continue;
    *stored_max = new_max;
    *stored_sum = fma(old_sum, rescale[i], sum);
  }
}

/// S = Q K^T; P = exp2(S - max); O = rescale * O + P V.
template <class Real>
__global__ void __launch_bounds__(kPlainThreads) plain_forward(const __grid_constant__ PlainForwardParameters<Real> p) {
  extern __shared__ __align__(16) std::byte shared_bytes[];
  auto& shared = *reinterpret_cast<PlainShared<Real>*>(shared_bytes);
  const OwnTile own = own_tile(p.work, p.work.tiles[blockIdx.x], kPlainRows);
  const std::int32_t kv_head = own.head / p.work.heads_per_kv_head;
  const int num_columns = static_cast<int>(p.q.columns);
  unsigned num_allowed = 0;
  walk_plainly<Owner::kQueries>(p.work, own, shared, [&](const Step& step) {
    PlainTile<Real> scores;
    multiply_rows(scores, own_rows(p.q, own, own.head), other_rows(p.k, p.work, step, own.batch, kv_head), num_columns, shared);
    const TileMask mask = tile_mask<Owner::kQueries>(p.work, own, step, shared.own_times, shared.other_times);
    num_allowed += finish_scores(scores, p.score_factor, step.tile_class == TileClass::kPartial, mask);
    Real rescale[4];
    fold_scores(p, own, scores, rescale);
    add_product(scores, rescale, other_rows(p.v, p.work, step, own.batch, kv_head), num_columns, own_rows(p.o, own, own.head), shared);
  });
  if (p.pair_counter != nullptr) add_to_counter(p.pair_counter, num_allowed);
}

template <class Real>
void launch_plain_forward(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  const PlainForwardParameters<Real> parameters{.work = work_view(launch, operands.times, operands.q, operands.k),
                                                .q = device_rows<Real>(operands.q),
                                                .k = device_rows<Real>(operands.k),
                                                .v = device_rows<Real>(operands.v),
                                                .row_max = device_rows<Real>(operands.row_max),
                                                .row_sum = device_rows<Real>(operands.row_sum),
                                                .o = device_rows<Real>(operands.o),
                                                .score_factor = static_cast<Real>(operands.scale * std::numbers::log2e),
                                                .pair_counter = pair_counter};
  launch_checked(plain_forward<Real>, launch.num_tiles, kPlainThreads, sizeof(PlainShared<Real>), launch.stream, parameters);
}

}  // namespace

template <>
void launch_forward<float>(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  launch_plain_forward<float>(launch, operands, pair_counter);
}
template <>
void launch_forward<double>(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  launch_plain_forward<double>(launch, operands, pair_counter);
}

}  // namespace hilbertring

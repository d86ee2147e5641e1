#include "drivers/sampled_row_check.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "drivers/row_bounds.h"
#include "drivers/slab.h"
#include "ring/redistribution.h"

namespace hilbertring {

namespace {

constexpr int kScalarsTag = 0;  // no pass is under way: the ring's own tags are free

}  // namespace

SampledRowCheck::SampledRowCheck(Transport& transport, const Schedule& schedule, const RandomInputs& inputs, ElementType stored_as,
                                 ElementType weights_type, const RowSample& sample, int num_threads)
    : transport_(transport),
      schedule_(schedule),
      inputs_(inputs),
      stored_as_(stored_as),
      num_threads_(num_threads),
      slab_(sequence_slab(schedule.problem().shape.tokens, transport.num_ranks(), transport.rank())),
      roundoff_(unit_roundoff(arithmetic_type(schedule.problem().type))),
      weights_roundoff_(weights_roundoff(weights_type, schedule.problem().type)),
      query_rows_(rows_to_compare(shape(), shape().heads, sample, 0)) {
  if (!schedule.problem().with_gradient) return;
  key_rows_ = rows_to_compare(shape(), shape().kv_heads, sample, 1);
  const std::int64_t num_values = kNumScalars * shape().heads_per_kv_head() * slab_.size();
  scalars_.assign(key_rows_.size(), {slab_.size(), std::vector<double>(static_cast<std::size_t>(num_values))});
}

std::int64_t SampledRowCheck::predicted_bytes(const Problem& problem, std::int64_t num_rows, std::int64_t num_ranks) {
  if (!problem.with_gradient) return 0;
  const Shape& shape = problem.shape;
  const std::int64_t num_key_rows = std::min(num_rows, shape.batch * shape.kv_heads * shape.tokens);
  const std::int64_t token_bytes = kNumScalars * shape.heads_per_kv_head() * static_cast<std::int64_t>(sizeof(double));
  // Its own part for every row and another rank's on the way; at worst all rows are this rank's, and it gathers all parts of each.
  return token_bytes * ((num_key_rows + 1) * ceil_div(shape.tokens, num_ranks) + num_key_rows * shape.tokens);
}

const std::vector<RowPlace>& SampledRowCheck::rows_of(TensorName name) const {
  return name == TensorName::kDk || name == TensorName::kDv ? key_rows_ : query_rows_;
}

void SampledRowCheck::take(TensorName name, std::span<const std::byte> slab) {
  std::vector<std::vector<double>>& kept = actual_[name];
  for (const RowPlace& row : rows_of(name)) {
    std::vector<double>& values = kept.emplace_back();
    if (!is_mine(row)) continue;
    const std::int64_t token = row.token - slab_.begin.value;
    for (std::int64_t d = 0; d < columns_of(name, shape()); ++d) {
      values.push_back(load_element(slab.data(), stored_type(name), element_index(name, shape(), slab_.size(), row.batch, token, row.head, d)));
    }
  }
  if (name == TensorName::kLse) keep_lse(slab);
  if (name == TensorName::kO) keep_deltas(slab);
}

void SampledRowCheck::keep_lse(std::span<const std::byte> slab) {
  const std::int64_t group = shape().heads_per_kv_head();
  for (std::size_t i = 0; i < key_rows_.size(); ++i) {
    for (std::int64_t head = 0; head < group; ++head) {
      for (std::int64_t token = 0; token < slab_.size(); ++token) {
        const std::int64_t index =
            element_index(TensorName::kLse, shape(), slab_.size(), key_rows_[i].batch, token, key_rows_[i].head * group + head, 0);
        const double lse = load_element(slab.data(), ElementType::kFloat32, index);
        scalars_[i].at(kLseScalar, head, token, group) = lse;
        if (std::isfinite(lse)) largest_lse_ = std::max(largest_lse_, std::abs(lse));
      }
    }
  }
}

void SampledRowCheck::keep_deltas(std::span<const std::byte> slab) {
  const std::int64_t group = shape().heads_per_kv_head();
  for (std::size_t i = 0; i < key_rows_.size(); ++i) {
#pragma omp parallel for num_threads(num_threads_)
    for (std::int64_t k = 0; k < group * slab_.size(); ++k) {
      const std::int64_t head = k / slab_.size(), token = k % slab_.size(), batch = key_rows_[i].batch;
      std::vector<double> d_o(static_cast<std::size_t>(shape().head_dim));
      read_random_row(inputs_, TensorName::kDo, batch, key_rows_[i].head * group + head, slab_.begin + token, d_o);
      const std::int64_t first = element_index(TensorName::kO, shape(), slab_.size(), batch, token, key_rows_[i].head * group + head, 0);
      for (std::int64_t d = 0; d < shape().head_dim; ++d) {
        const double term = d_o[static_cast<std::size_t>(d)] * load_element(slab.data(), stored_as_, first + d);
        scalars_[i].at(kDeltaScalar, head, token, group) += term;
        scalars_[i].at(kAbsDeltaScalar, head, token, group) += std::abs(term);
      }
    }
  }
}

SampledRowCheck::QueryScalars SampledRowCheck::gathered_scalars(std::size_t key_row) {
  const Rank owner = slab_owner(shape().tokens, transport_.num_ranks(), SequenceIndex(key_rows_[key_row].token));
  if (owner != transport_.rank()) {
    transport_.send(std::as_bytes(std::span(scalars_[key_row].values)), owner, kScalarsTag)->wait();
    return {};
  }
  const std::int64_t num_lines = kNumScalars * shape().heads_per_kv_head();
  QueryScalars all{shape().tokens, std::vector<double>(static_cast<std::size_t>(num_lines * shape().tokens))};
  for (Rank rank(0); rank < Rank(transport_.num_ranks()); ++rank) {
    const Range<SequenceIndex> tokens = sequence_slab(shape().tokens, transport_.num_ranks(), rank);
    std::vector<double> part = rank == owner ? scalars_[key_row].values : std::vector<double>(static_cast<std::size_t>(num_lines * tokens.size()));
    if (rank != owner) transport_.receive(std::as_writable_bytes(std::span(part)), rank, kScalarsTag)->wait();
    for (std::int64_t line = 0; line < num_lines; ++line) {
      std::copy_n(part.begin() + line * tokens.size(), tokens.size(), all.values.begin() + line * shape().tokens + tokens.begin.value);
    }
  }
  return all;
}

ReferenceInputs SampledRowCheck::reference_inputs() const {
  const auto reader = [this](TensorName name) -> RowReader {
    return [this, name](std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> row) {
      read_random_row(inputs_, name, batch, head, token, row);
    };
  };
  const Orders& orders = schedule_.orders();
  ReferenceInputs inputs{
      .pattern = &schedule_.pattern(),
      .order = {[&orders](Position p) { return orders.queries->sequence_index(p); }, [&orders](Position p) { return orders.keys->sequence_index(p); },
                [&orders](SequenceIndex t) { return orders.queries->position(t); }, [&orders](SequenceIndex t) { return orders.keys->position(t); }},
      .scale = schedule_.problem().specification.scale_for(shape()),
      .q = reader(TensorName::kQ),
      .k = reader(TensorName::kK),
      .v = reader(TensorName::kV),
      .d_o = nullptr};
  if (schedule_.problem().with_gradient) inputs.d_o = reader(TensorName::kDo);
  return inputs;
}

std::vector<TensorErrors> SampledRowCheck::compare() {
  std::vector<QueryScalars> gathered;
  for (std::size_t i = 0; i < key_rows_.size(); ++i) gathered.push_back(gathered_scalars(i));
  transport_.all_reduce(std::span(&largest_lse_, 1), Reduction::kMax);

  const std::vector<TensorName> names = result_names(schedule_.problem().with_gradient);
  const std::size_t num_rows = query_rows_.size() + key_rows_.size();
  std::vector<std::vector<Errors>> of_rows(num_rows, std::vector<Errors>(names.size()));
#pragma omp parallel for num_threads(num_threads_) schedule(dynamic)
  for (std::size_t i = 0; i < num_rows; ++i) {
    const bool is_query = i < query_rows_.size();
    const std::size_t index = is_query ? i : i - query_rows_.size();
    if (!is_mine(is_query ? query_rows_[index] : key_rows_[index])) continue;
    is_query ? compare_query_row(index, of_rows[i]) : compare_key_row(index, gathered[index], of_rows[i]);
  }
  std::vector<TensorErrors> all;
  for (std::size_t tensor = 0; tensor < names.size(); ++tensor) {
    all.push_back({names[tensor], {}});
    for (const std::vector<Errors>& errors : of_rows) all.back().errors.merge(errors[tensor]);
  }
  return all;
}

void SampledRowCheck::compare_query_row(std::size_t index, std::vector<Errors>& errors) const {
  const RowPlace& row = query_rows_[index];
  const ReferenceQueryRow reference = reference_query_row(reference_inputs(), row.batch, row.head, SequenceIndex(row.token));
  const double rounding = query_rounding(roundoff_, reference);
  compare_row(TensorName::kO, index, reference.o, reference.o_abs, rounding + weights_roundoff_, errors[0]);
  errors[1].add({row.batch, row.token, row.head, 0}, actual_.at(TensorName::kLse)[index][0], reference.lse,
                lse_bound(roundoff_, ElementType::kFloat32, reference));
  if (!schedule_.problem().with_gradient) return;
  compare_row(TensorName::kDq, index, reference.dq, reference.dq_abs, rounding + 2 * weights_roundoff_, errors[2]);
}

void SampledRowCheck::compare_key_row(std::size_t index, QueryScalars& scalars, std::vector<Errors>& errors) const {
  const RowPlace& row = key_rows_[index];
  const std::int64_t group = shape().heads_per_kv_head();
  const auto scalar = [&](ScalarKind kind) {
    return [&scalars, &row, group, kind](std::int64_t, std::int64_t head, SequenceIndex token) {
      return scalars.at(kind, head - row.head * group, token.value, group);
    };
  };
  const auto reference_with = [&](ScalarKind delta) {
    return reference_key_row(reference_inputs(), row.batch, row.head, SequenceIndex(row.token), scalar(kLseScalar), scalar(delta));
  };
  const ReferenceKeyRow reference = reference_with(kDeltaScalar);
  const double rounding = key_rounding(roundoff_, ElementType::kFloat32, reference, largest_lse_);
  compare_row(TensorName::kDv, index, reference.dv, reference.dv_abs, rounding + weights_roundoff_, errors[4]);
  // delta = dO . o with the o that was stored: off by as much as u(T_out) sum |dO_d o_d|. The reference sums that up if told it is delta.
  const ReferenceKeyRow sizes = reference_with(kAbsDeltaScalar);
  compare_row(TensorName::kDk, index, reference.dk, sizes.dk_abs, rounding + unit_roundoff(stored_as_) + 2 * weights_roundoff_, errors[3]);
}

void SampledRowCheck::compare_row(TensorName name, std::size_t index, std::span<const double> expected, std::span<const double> sum_abs,
                                  double rounding, Errors& errors) const {
  const RowPlace& row = rows_of(name)[index];
  errors.add_row({row.batch, row.token, row.head, 0}, actual_.at(name)[index], expected,
                 row_bounds(expected, sum_abs, rounding, unit_roundoff(stored_as_), stored_as_));
}

}  // namespace hilbertring

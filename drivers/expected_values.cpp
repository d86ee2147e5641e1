#include "drivers/expected_values.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/pattern.h"
#include "core/reference.h"
#include "drivers/order_table.h"
#include "drivers/row_sample.h"
#include "drivers/slab.h"

namespace hilbertring {

namespace {

/// Rows of queries first: those of keys need lse and delta of every query.
class Evaluation {
 public:
  Evaluation(const Shape& shape, const Specification& specification, const Orders& orders, std::span<const LoadedTensor> inputs)
      : shape_(shape), pattern_(specification, shape), query_order_(*orders.queries), key_order_(*orders.keys), has_gradient_(inputs.size() > 3) {
    inputs_ = {.pattern = &pattern_,
               .order = order_lookup(query_order_, key_order_),
               .scale = specification.scale_for(shape),
               .q = row_reader(inputs[0]),
               .k = row_reader(inputs[1]),
               .v = row_reader(inputs[2]),
               .d_o = nullptr};
    if (has_gradient_) inputs_.d_o = row_reader(inputs[3]);
    for (const TensorName name : result_names(has_gradient_)) {
      values_[name].resize(static_cast<std::size_t>(shape.batch * shape.tokens * heads_of(name, shape) * columns_of(name, shape)));
    }
    delta_.resize(values_[TensorName::kLse].size());
  }
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;

  ExpectedValues execute() {
    evaluate_queries();
    if (has_gradient_) evaluate_keys();
    return std::move(values_);
  }

 private:
  void evaluate_queries() {
    const std::vector<RowPlace> rows = rows_to_compare(shape_, shape_.heads, {}, 0);
#pragma omp parallel for schedule(dynamic, 8)
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const RowPlace& row = rows[i];
      const ReferenceQueryRow reference = reference_query_row(inputs_, row.batch, row.head, SequenceIndex(row.token));
      put(TensorName::kO, row, reference.o);
      put(TensorName::kLse, row, std::span(&reference.lse, 1));
      if (!has_gradient_) continue;
      put(TensorName::kDq, row, reference.dq);
      delta_[first_element(TensorName::kLse, row)] = reference.delta;
    }
  }

  void evaluate_keys() {
    const std::vector<RowPlace> rows = rows_to_compare(shape_, shape_.kv_heads, {}, 0);
    const QueryScalar lse = scalar(values_.at(TensorName::kLse)), delta = scalar(delta_);
#pragma omp parallel for schedule(dynamic, 8)
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const RowPlace& row = rows[i];
      const ReferenceKeyRow reference = reference_key_row(inputs_, row.batch, row.head, SequenceIndex(row.token), lse, delta);
      put(TensorName::kDk, row, reference.dk);
      put(TensorName::kDv, row, reference.dv);
    }
  }

  /// Values [B, H, N].
  QueryScalar scalar(const std::vector<double>& values) const {
    return [this, &values](std::int64_t batch, std::int64_t head, SequenceIndex token) {
      return values[first_element(TensorName::kLse, {batch, head, token.value})];
    };
  }
  std::size_t first_element(TensorName name, const RowPlace& row) const {
    return static_cast<std::size_t>(element_index(name, shape_, shape_.tokens, row.batch, row.token, row.head, 0));
  }
  void put(TensorName name, const RowPlace& row, std::span<const double> elements) {
    std::copy(elements.begin(), elements.end(), values_.at(name).begin() + static_cast<std::ptrdiff_t>(first_element(name, row)));
  }

  Shape shape_;
  Pattern pattern_;
  OrderTable query_order_, key_order_;
  bool has_gradient_;
  ReferenceInputs inputs_;
  ExpectedValues values_;
  std::vector<double> delta_;  ///< [B, H, N]
};

}  // namespace

ExpectedValues expected_values(const Shape& shape, const Specification& specification, const Orders& orders, std::span<const LoadedTensor> inputs) {
  return Evaluation(shape, specification, orders, inputs).execute();
}

}  // namespace hilbertring

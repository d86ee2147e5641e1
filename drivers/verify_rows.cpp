#include "drivers/verify_rows.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "core/error.h"
#include "drivers/description.h"
#include "drivers/machine.h"
#include "drivers/order_table.h"
#include "drivers/row_bounds.h"
#include "drivers/row_sample.h"
#include "drivers/slab.h"
#include "drivers/units.h"

namespace hilbertring {

namespace {

/// Rows between two looks at the progress; their errors are merged in order, so that the figures printed do not depend on threads.
constexpr std::int64_t kRowsAtATime = 2048;

/// A result's tensor and what it is compared with.
struct Subject {
  LoadedTensor actual;
  std::optional<LoadedTensor> expected;

  /// Relative roundings of storing, of both sides.
  double storage_roundoff() const { return unit_roundoff(actual.type()) + (expected ? unit_roundoff(expected->type()) : 0.0); }
};

void require_memory_to_load(const std::vector<const CaseFile*>& files) {
  std::int64_t num_bytes = 0;
  for (const CaseFile* file : files) {
    for (const DatasetInfo& info : file->datasets()) {
      std::int64_t size = size_bytes(info.type);
      for (const std::int64_t extent : info.shape) size *= extent;
      num_bytes += size;
    }
  }
  const std::int64_t available = available_memory_bytes();
  if (num_bytes <= available) return;
  throw failure("not enough memory: verification holds all tensors, " + format_bytes(num_bytes) + ", and " + format_bytes(available) +
                " are available");
}

}  // namespace

struct RowVerifier::Data {
  Shape shape;
  Pattern pattern;
  OrderTable query_order, key_order;
  LoadedTensor q, k, v;
  std::optional<LoadedTensor> d_o;
  std::vector<Subject> subjects;  ///< o, lse, and with gradients dq, dk, dv
  ReferenceInputs inputs;
  double roundoff;          ///< of the arithmetic
  double weights_roundoff;  ///< of softmax weights that are rounded before they are multiplied

  Data(CaseFile& case_file, CaseFile& result, CaseFile* expected, const Orders& orders, bool has_gradient, ElementType weights_type)
      : shape(case_file.shape()),
        pattern(result.specification(), shape),
        query_order(*orders.queries),
        key_order(*orders.keys),
        q(case_file, TensorName::kQ, shape),
        k(case_file, TensorName::kK, shape),
        v(case_file, TensorName::kV, shape),
        roundoff(unit_roundoff(arithmetic_type(case_file.type()))),
        weights_roundoff(hilbertring::weights_roundoff(weights_type, case_file.type())) {
    if (has_gradient) d_o.emplace(case_file, TensorName::kDo, shape);
    for (const TensorName name : result_names(has_gradient)) {
      subjects.push_back({LoadedTensor(result, name, shape), std::nullopt});
      if (expected != nullptr) subjects.back().expected.emplace(*expected, name, shape);
    }
    inputs.pattern = &pattern;
    inputs.scale = result.specification().scale_for(shape);
    inputs.order = order_lookup(query_order, key_order);
    inputs.q = row_reader(q);
    inputs.k = row_reader(k);
    inputs.v = row_reader(v);
    if (d_o) inputs.d_o = row_reader(*d_o);
  }
  Data(const Data&) = delete;
  Data& operator=(const Data&) = delete;

  const Subject& subject(TensorName name) const {
    return *std::find_if(subjects.begin(), subjects.end(), [&](const Subject& candidate) { return candidate.actual.name() == name; });
  }
  std::size_t query_index(const RowPlace& row) const {
    return static_cast<std::size_t>((row.batch * shape.heads + row.head) * shape.tokens + row.token);
  }
};

namespace {

/// lse and delta of every query [B, H, N], from one source.
struct QueryScalars {
  std::vector<double> lse, delta;
};

}  // namespace

/// One comparison: rows of queries give o, lse and dq, rows of keys dk and dv.
class RowComparison {
 public:
  using Data = RowVerifier::Data;

  RowComparison(const Data& data, const RowSample& sample, const RowVerifier::Progress& progress)
      : data_(data),
        progress_(progress),
        query_rows_(rows_to_compare(data.shape, data.shape.heads, sample, 0)),
        has_all_queries_(query_rows_.size() == static_cast<std::size_t>(data.shape.batch * data.shape.heads * data.shape.tokens)) {
    if (!data_.d_o) return;
    key_rows_ = rows_to_compare(data.shape, data.shape.kv_heads, sample, 1);
    const std::size_t num_queries = static_cast<std::size_t>(data.shape.batch * data.shape.heads * data.shape.tokens);
    scalars_.lse.resize(num_queries);
    scalars_.delta.resize(num_queries);
    if (!has_all_queries_) take_scalars_from_result();
  }

  std::vector<TensorErrors> execute() {
    std::vector<TensorErrors> all;
    for (const Subject& subject : data_.subjects) all.push_back({subject.actual.name(), {}});
    for_each_row(query_rows_, all, [&](const RowPlace& row, std::vector<Errors>& errors) { compare_query_row(row, errors); });
    for_each_row(key_rows_, all, [&](const RowPlace& row, std::vector<Errors>& errors) { compare_key_row(row, errors); });
    return all;
  }

 private:
  template <class Compare>
  void for_each_row(const std::vector<RowPlace>& rows, std::vector<TensorErrors>& all, const Compare& compare) {
    const auto num_rows = static_cast<std::int64_t>(rows.size());
    for (std::int64_t begin = 0; begin < num_rows; begin += kRowsAtATime) {
      const std::int64_t count = std::min(kRowsAtATime, num_rows - begin);
      std::vector<std::vector<Errors>> errors(static_cast<std::size_t>(count), std::vector<Errors>(all.size()));
#pragma omp parallel for schedule(dynamic, 8)
      for (std::int64_t i = 0; i < count; ++i) compare(rows[static_cast<std::size_t>(begin + i)], errors[static_cast<std::size_t>(i)]);
      for (const auto& of_row : errors) {
        for (std::size_t tensor = 0; tensor < all.size(); ++tensor) all[tensor].errors.merge(of_row[tensor]);
      }
      num_done_ += count;
      if (progress_) progress_(num_done_, static_cast<std::int64_t>(query_rows_.size() + key_rows_.size()));
    }
  }

  void compare_query_row(const RowPlace& row, std::vector<Errors>& errors) {
    const ReferenceQueryRow reference = reference_query_row(data_.inputs, row.batch, row.head, SequenceIndex(row.token));
    const double rounding = query_rounding(data_.roundoff, reference);
    compare_row(0, row, reference.o, reference.o_abs, rounding + data_.weights_roundoff, errors);
    compare_lse(row, reference, errors);
    if (!data_.d_o) return;
    compare_row(2, row, reference.dq, reference.dq_abs, rounding + 2 * data_.weights_roundoff, errors);
    if (!has_all_queries_) return;
    scalars_.lse[data_.query_index(row)] = reference.lse;
    scalars_.delta[data_.query_index(row)] = reference.delta;
  }

  void compare_lse(const RowPlace& row, const ReferenceQueryRow& reference, std::vector<Errors>& errors) const {
    const Subject& subject = data_.subjects[1];
    const double expected = subject.expected ? subject.expected->at(row.batch, row.token, row.head, 0) : reference.lse;
    errors[1].add({row.batch, row.token, row.head, 0}, subject.actual.at(row.batch, row.token, row.head, 0), expected,
                  lse_bound(data_.roundoff, subject.actual.type(), reference));
  }

  void compare_key_row(const RowPlace& row, std::vector<Errors>& errors) const {
    const auto lse = [this](std::int64_t batch, std::int64_t head, SequenceIndex token) {
      return scalars_.lse[data_.query_index({batch, head, token.value})];
    };
    const auto delta = [this](std::int64_t batch, std::int64_t head, SequenceIndex token) {
      return scalars_.delta[data_.query_index({batch, head, token.value})];
    };
    const ReferenceKeyRow reference = reference_key_row(data_.inputs, row.batch, row.head, SequenceIndex(row.token), lse, delta);
    double rounding = key_rounding(data_.roundoff, data_.subjects[1].actual.type(), reference, largest_lse_);
    compare_row(4, row, reference.dv, reference.dv_abs, rounding + data_.weights_roundoff, errors);
    if (has_all_queries_ && data_.weights_roundoff == 0) return compare_row(3, row, reference.dk, reference.dk_abs, rounding, errors);
    // delta = dO . o with the o that was stored (or summed with rounded weights): off by as much as u sum |dO_d o_d|. The reference sums that up if
    // told it is delta.
    const ReferenceKeyRow sizes = reference_key_row(data_.inputs, row.batch, row.head, SequenceIndex(row.token), lse, abs_delta());
    rounding += unit_roundoff(data_.subjects[0].actual.type());
    compare_row(3, row, reference.dk, sizes.dk_abs, rounding + 2 * data_.weights_roundoff, errors);
  }

  void compare_row(std::size_t tensor, const RowPlace& row, const std::vector<double>& reference, const std::vector<double>& sum_abs, double rounding,
                   std::vector<Errors>& errors) const {
    const Subject& subject = data_.subjects[tensor];
    std::vector<double> actual(reference.size()), expected = reference;
    subject.actual.read_row(row.batch, row.token, row.head, actual);
    if (subject.expected) subject.expected->read_row(row.batch, row.token, row.head, expected);
    const std::vector<double> bounds = row_bounds(expected, sum_abs, rounding, subject.storage_roundoff(), subject.actual.type());
    errors[tensor].add_row({row.batch, row.token, row.head, 0}, actual, expected, bounds);
  }

  void take_scalars_from_result() {
    const LoadedTensor& o = data_.subjects[0].actual;
    const auto dim = static_cast<std::size_t>(data_.shape.head_dim);
    const auto rows = rows_to_compare(data_.shape, data_.shape.heads, {}, 0);
    double largest_lse = 0;
#pragma omp parallel for reduction(max : largest_lse)
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& [batch, head, token] = rows[i];
      std::vector<double> o_row(dim), d_o_row(dim);
      o.read_row(batch, token, head, o_row);
      data_.d_o->read_row(batch, token, head, d_o_row);
      scalars_.lse[i] = data_.subjects[1].actual.at(batch, token, head, 0);
      for (std::size_t d = 0; d < dim; ++d) scalars_.delta[i] += d_o_row[d] * o_row[d];
      if (std::isfinite(scalars_.lse[i])) largest_lse = std::max(largest_lse, std::abs(scalars_.lse[i]));
    }
    largest_lse_ = largest_lse;
  }

  QueryScalar abs_delta() const {
    return [this](std::int64_t batch, std::int64_t head, SequenceIndex token) {
      double sum = 0;
      for (std::int64_t d = 0; d < data_.shape.head_dim; ++d) {
        sum += std::abs(data_.d_o->at(batch, token.value, head, d) * data_.subjects[0].actual.at(batch, token.value, head, d));
      }
      return sum;
    };
  }

  const Data& data_;
  const RowVerifier::Progress& progress_;
  std::vector<RowPlace> query_rows_, key_rows_;
  bool has_all_queries_;
  double largest_lse_ = 0;  ///< counts only where lse is the result's
  QueryScalars scalars_;
  std::int64_t num_done_ = 0;
};

namespace {

ElementType weights_type_of(const CaseFile& result, ElementType otherwise) {
  for (const auto& [name, value] : result.attributes()) {
    if (name == "weights_type") return parse_element_type(value);
  }
  return otherwise;
}

}  // namespace

std::string worst_element_text(const TensorErrors& compared) {
  constexpr int kDigitsOfValues = 8;
  const ElementPlace place = compared.errors.worst_place();
  const std::string column = compared.name == TensorName::kLse ? "" : ", column " + std::to_string(place.column);
  return "batch " + std::to_string(place.batch) + ", token " + std::to_string(place.token) + ", head " + std::to_string(place.head) + column + ": " +
         format_number(compared.errors.worst_actual(), kDigitsOfValues) + ", expected " +
         format_number(compared.errors.worst_expected(), kDigitsOfValues);
}

RowVerifier::RowVerifier(CaseFile& case_file, CaseFile& result, CaseFile* expected, std::optional<ElementType> weights_type) {
  std::vector<const CaseFile*> files = {&case_file, &result};
  if (expected != nullptr) files.push_back(expected);
  require_memory_to_load(files);
  result.specification().validate(case_file.shape());
  const Orders orders = orders_of_case(case_file, result.specification());
  const bool has_gradient = case_file.has(TensorName::kDo) && result.has(TensorName::kDq);
  data_ = std::make_unique<const Data>(case_file, result, expected, orders, has_gradient,
                                       weights_type.value_or(weights_type_of(result, arithmetic_type(case_file.type()))));
}

RowVerifier::~RowVerifier() = default;

bool RowVerifier::has_gradient() const { return data_->d_o.has_value(); }

std::vector<TensorErrors> RowVerifier::compare(const RowSample& sample, const Progress& progress) const {
  return RowComparison(*data_, sample, progress).execute();
}

}  // namespace hilbertring

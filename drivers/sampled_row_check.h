#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "core/reference.h"
#include "drivers/random_tensor.h"
#include "drivers/row_sample.h"
#include "drivers/verify_rows.h"
#include "ring/schedule.h"
#include "ring/transport.h"

namespace hilbertring {

/// Compares some rows of results that are spread over ranks with the float64 reference, on random inputs that are made anew wherever the reference
/// asks for them: no rank holds a whole tensor. Each rank compares the sampled rows of its own slab.
///
///   SampledRowCheck check(transport, schedule, inputs, ElementType::kFloat32, {.num_rows = 16}, num_threads);
///   check.take(TensorName::kO, o_slab); check.take(TensorName::kLse, lse_slab);   ... dq, dk, dv; slabs may go right after
///   const std::vector<TensorErrors> errors = check.compare();                      // of this rank's rows
///
/// The bounds are those of row_bounds.h; for dk and dv lse and delta are the result's, as in `RowVerifier`.
class SampledRowCheck {
 public:
  /// Draws `sample.num_rows` rows of queries and as many of keys (if the problem has a gradient). o and gradients are stored as `stored_as`, lse as
  /// float32; `weights_type` is the type to which softmax weights were rounded before they were multiplied. `transport` and `schedule` must outlive
  /// the object.
  SampledRowCheck(Transport& transport, const Schedule& schedule, const RandomInputs& inputs, ElementType stored_as, ElementType weights_type,
                  const RowSample& sample, int num_threads);

  /// Keeps what it needs of this rank's slab of a result. o and lse must be among the results.
  void take(TensorName name, std::span<const std::byte> slab);
  /// Collective. Errors of each tensor over this rank's sampled rows: none where it has no row.
  std::vector<TensorErrors> compare();

  /// Most bytes that a rank holds beyond its slab.
  static std::int64_t predicted_bytes(const Problem& problem, std::int64_t num_rows, std::int64_t num_ranks);

 private:
  /// lse, delta = dO . o and sum |dO_d o_d| of all queries that may meet one KV head: [3][H / G][tokens].
  struct QueryScalars {
    std::int64_t num_tokens = 0;
    std::vector<double> values;
    double& at(std::int64_t kind, std::int64_t head_in_group, std::int64_t token, std::int64_t heads_per_kv_head) {
      return values[static_cast<std::size_t>((kind * heads_per_kv_head + head_in_group) * num_tokens + token)];
    }
  };
  enum ScalarKind : std::int64_t { kLseScalar = 0, kDeltaScalar = 1, kAbsDeltaScalar = 2, kNumScalars = 3 };

  const Shape& shape() const { return schedule_.problem().shape; }
  const std::vector<RowPlace>& rows_of(TensorName name) const;
  bool is_mine(const RowPlace& row) const { return slab_.contains(SequenceIndex(row.token)); }
  ElementType stored_type(TensorName name) const { return name == TensorName::kLse ? ElementType::kFloat32 : stored_as_; }
  ReferenceInputs reference_inputs() const;

  void keep_lse(std::span<const std::byte> slab);
  void keep_deltas(std::span<const std::byte> slab);
  /// The parts of all ranks, for a row of keys that is this rank's; empty for others. Collective.
  QueryScalars gathered_scalars(std::size_t key_row);
  void compare_query_row(std::size_t index, std::vector<Errors>& errors) const;
  void compare_key_row(std::size_t index, QueryScalars& scalars, std::vector<Errors>& errors) const;
  void compare_row(TensorName name, std::size_t index, std::span<const double> expected, std::span<const double> sum_abs, double rounding,
                   Errors& errors) const;

  Transport& transport_;
  const Schedule& schedule_;
  RandomInputs inputs_;
  ElementType stored_as_;
  int num_threads_;
  Range<SequenceIndex> slab_;
  double roundoff_;          ///< of the arithmetic
  double weights_roundoff_;  ///< of softmax weights that are rounded before they are multiplied; else 0
  std::vector<RowPlace> query_rows_, key_rows_;
  std::map<TensorName, std::vector<std::vector<double>>> actual_;  ///< by sampled row; empty rows are other ranks'
  std::vector<QueryScalars> scalars_;                              ///< by sampled row of keys: this rank's tokens
  double largest_lse_ = 0;
};

}  // namespace hilbertring

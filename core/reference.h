#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/pattern.h"

namespace hilbertring {

/// One row of a tensor in float64, fetched by sequence index: `row` has D elements and is valid until the next call on the same thread.
/// Reentrant: the reference calls it from several threads.
using RowReader = std::function<void(std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> row)>;

/// Where positions lie in the sequence: both directions, for queries and for keys.
struct OrderLookup {
  std::function<SequenceIndex(Position)> query_index;
  std::function<SequenceIndex(Position)> key_index;
  std::function<Position(SequenceIndex)> query_position;
  std::function<Position(SequenceIndex)> key_position;
};

/// What the reference reads. lse and delta are needed for gradients only: `reference_query_row` gives them for each query.
struct ReferenceInputs {
  const Pattern* pattern = nullptr;
  OrderLookup order;
  double scale = 1.0;
  RowReader q, k, v, d_o;
};

/// Float64 results for one query row, each with the sum of the absolute values of its terms: what rounding errors are measured against. Sums inside a
/// term count as well: dq_abs = |scale| sum_j p_j (sum |dO v_j| + sum |dO| o_abs) |k_j|, and in dk_abs |delta| takes the place of sum |dO| o_abs.
struct ReferenceQueryRow {
  double lse = 0;                  ///< -inf if no key is allowed
  double delta = 0;                ///< dO . o; 0 without d_o
  double max_abs_score = 0;        ///< largest scale * sum |q_d k_d| over the allowed keys: how far rounding can move a score
  std::vector<double> o, o_abs;    ///< [D]
  std::vector<double> dq, dq_abs;  ///< [D]; empty without d_o
};

struct ReferenceKeyRow {
  double max_abs_score = 0;
  std::vector<double> dk, dk_abs, dv, dv_abs;  ///< [D]
};

/// Row (batch, head, token) by the closed form of SPEC.md section 4: allowed keys are found by `Branch::allows` and `Pattern::causality_allows`
/// element by element inside the branch's hull, with none of the kernels' blocks or tiles. O(w D) per row. The same bits on every machine: sums have
/// one order, and exp and log are those of portable_math.h.
ReferenceQueryRow reference_query_row(const ReferenceInputs& inputs, std::int64_t batch, std::int64_t head, SequenceIndex token);

/// dk and dv of (batch, KV head, token). `lse` and `delta` give the query rows' values (from `reference_query_row`, or from a verified result).
using QueryScalar = std::function<double(std::int64_t batch, std::int64_t head, SequenceIndex token)>;
ReferenceKeyRow reference_key_row(const ReferenceInputs& inputs, std::int64_t batch, std::int64_t kv_head, SequenceIndex token,
                                  const QueryScalar& lse, const QueryScalar& delta);

}  // namespace hilbertring

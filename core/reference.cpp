#include "core/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "core/portable_math.h"

namespace hilbertring {

namespace {

/// One allowed pair as a query row sees it; a key that several branches allow stands several times, which is its multiplicity M(j).
struct KeyTerm {
  SequenceIndex key;
  double score = 0;
  double d_o_v = 0;      ///< dO . v_j
  double d_o_v_abs = 0;  ///< sum |dO_d v_jd|
};

struct Dot {
  double sum = 0;
  double sum_abs = 0;
};

Dot dot(std::span<const double> a, std::span<const double> b) {
  Dot result;
  for (std::size_t d = 0; d < a.size(); ++d) {
    result.sum += a[d] * b[d];
    result.sum_abs += std::abs(a[d] * b[d]);
  }
  return result;
}

/// y += factor * x, y_abs += factor_abs * |x|
void add_scaled(std::span<double> y, std::span<double> y_abs, double factor, double factor_abs, std::span<const double> x) {
  for (std::size_t d = 0; d < x.size(); ++d) {
    y[d] += factor * x[d];
    y_abs[d] += factor_abs * std::abs(x[d]);
  }
}

bool causality_allows(const ReferenceInputs& inputs, Position query, Position key) {
  switch (inputs.pattern->causal()) {
    case Causal::kNone: return true;
    case Causal::kPosition: return Pattern::causality_allows(query.value, key.value);
    case Causal::kSequence: break;
  }
  return Pattern::causality_allows(inputs.order.query_index(query).value, inputs.order.key_index(key).value);
}

/// Calls `visit(branch)` for the branches that the head takes part in.
template <class Visit>
void for_each_branch(const Pattern& pattern, std::int64_t head, Visit&& visit) {
  for (std::int64_t index = 0; index < pattern.num_branches(); ++index) {
    if (pattern.branch(index).has_head(head)) visit(pattern.branch(index));
  }
}

std::vector<SequenceIndex> allowed_keys(const ReferenceInputs& inputs, std::int64_t head, SequenceIndex token) {
  const Position query = inputs.order.query_position(token);
  std::vector<SequenceIndex> result;
  for_each_branch(*inputs.pattern, head, [&](const Branch& branch) {
    const Range<Position> hull = branch.key_hull({query, query + 1});
    for (Position key = hull.begin; key < hull.end; ++key) {
      if (branch.allows(head, query, key) && causality_allows(inputs, query, key)) result.push_back(inputs.order.key_index(key));
    }
  });
  return result;
}

std::vector<SequenceIndex> allowed_queries(const ReferenceInputs& inputs, std::int64_t head, SequenceIndex token) {
  const Position key = inputs.order.key_position(token);
  std::vector<SequenceIndex> result;
  for_each_branch(*inputs.pattern, head, [&](const Branch& branch) {
    const Range<Position> hull = branch.query_hull({key, key + 1});
    for (Position query = hull.begin; query < hull.end; ++query) {
      if (branch.allows(head, query, key) && causality_allows(inputs, query, key)) result.push_back(inputs.order.query_index(query));
    }
  });
  return result;
}

/// Works out one query row in three passes over its keys: scores; o and dO . v; dq.
class QueryRow {
 public:
  QueryRow(const ReferenceInputs& inputs, std::int64_t batch, std::int64_t head, SequenceIndex token)
      : inputs_(inputs),
        batch_(batch),
        head_(head),
        kv_head_(head / inputs.pattern->shape().heads_per_kv_head()),
        token_(token),
        dim_(static_cast<std::size_t>(inputs.pattern->shape().head_dim)),
        row_(dim_) {
    result_.o.assign(dim_, 0.0);
    result_.o_abs.assign(dim_, 0.0);
  }

  ReferenceQueryRow evaluate() {
    fold_scores();
    if (inputs_.d_o) {
      d_o_.resize(dim_);
      inputs_.d_o(batch_, head_, token_, d_o_);
    }
    fold_values();
    if (inputs_.d_o) fold_gradient();
    return std::move(result_);
  }

 private:
  void fold_scores() {
    std::vector<double> q(dim_);
    inputs_.q(batch_, head_, token_, q);
    double max_score = -std::numeric_limits<double>::infinity();
    for (const SequenceIndex key : allowed_keys(inputs_, head_, token_)) {
      inputs_.k(batch_, kv_head_, key, row_);
      const Dot q_k = dot(q, row_);
      terms_.push_back({.key = key, .score = inputs_.scale * q_k.sum});
      max_score = std::max(max_score, terms_.back().score);
      result_.max_abs_score = std::max(result_.max_abs_score, std::abs(inputs_.scale) * q_k.sum_abs);
    }
    // Shifted by the largest score, so that no exponential overflows; without any term the logarithm of the empty sum is -inf by definition.
    double sum = 0;
    for (const KeyTerm& term : terms_) sum += portable_exp(term.score - max_score);
    result_.lse = terms_.empty() ? max_score : max_score + portable_log(sum);
  }

  double probability(const KeyTerm& term) const { return portable_exp(term.score - result_.lse); }

  void fold_values() {
    for (KeyTerm& term : terms_) {
      inputs_.v(batch_, kv_head_, term.key, row_);
      const double p = probability(term);
      add_scaled(result_.o, result_.o_abs, p, p, row_);
      if (!inputs_.d_o) continue;
      const Dot d_o_v = dot(d_o_, row_);
      term.d_o_v = d_o_v.sum;
      term.d_o_v_abs = d_o_v.sum_abs;
    }
  }

  void fold_gradient() {
    result_.dq.assign(dim_, 0.0);
    result_.dq_abs.assign(dim_, 0.0);
    result_.delta = dot(d_o_, result_.o).sum;
    const double delta_abs = dot(d_o_, result_.o_abs).sum_abs;
    for (const KeyTerm& term : terms_) {
      inputs_.k(batch_, kv_head_, term.key, row_);
      const double scaled_p = inputs_.scale * probability(term);
      add_scaled(result_.dq, result_.dq_abs, scaled_p * (term.d_o_v - result_.delta), std::abs(scaled_p) * (term.d_o_v_abs + delta_abs), row_);
    }
  }

  const ReferenceInputs& inputs_;
  std::int64_t batch_;
  std::int64_t head_;
  std::int64_t kv_head_;
  SequenceIndex token_;
  std::size_t dim_;
  std::vector<double> row_;  ///< the key's or value's row at hand
  std::vector<double> d_o_;
  std::vector<KeyTerm> terms_;
  ReferenceQueryRow result_;
};

}  // namespace

ReferenceQueryRow reference_query_row(const ReferenceInputs& inputs, std::int64_t batch, std::int64_t head, SequenceIndex token) {
  return QueryRow(inputs, batch, head, token).evaluate();
}

ReferenceKeyRow reference_key_row(const ReferenceInputs& inputs, std::int64_t batch, std::int64_t kv_head, SequenceIndex token,
                                  const QueryScalar& lse, const QueryScalar& delta) {
  const Shape& shape = inputs.pattern->shape();
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  std::vector<double> q(dim), k(dim), v(dim), d_o(dim);
  inputs.k(batch, kv_head, token, k);
  inputs.v(batch, kv_head, token, v);
  const std::vector<double> zeros(dim, 0.0);
  ReferenceKeyRow result{.dk = zeros, .dk_abs = zeros, .dv = zeros, .dv_abs = zeros};
  for (std::int64_t head = kv_head * shape.heads_per_kv_head(); head < (kv_head + 1) * shape.heads_per_kv_head(); ++head) {
    for (const SequenceIndex query : allowed_queries(inputs, head, token)) {
      inputs.q(batch, head, query, q);
      inputs.d_o(batch, head, query, d_o);
      const Dot q_k = dot(q, k);
      const Dot d_o_v = dot(d_o, v);
      const double query_delta = delta(batch, head, query);
      const double p = portable_exp(inputs.scale * q_k.sum - lse(batch, head, query));
      const double scaled_p = inputs.scale * p;
      add_scaled(result.dv, result.dv_abs, p, p, d_o);
      add_scaled(result.dk, result.dk_abs, scaled_p * (d_o_v.sum - query_delta), std::abs(scaled_p) * (d_o_v.sum_abs + std::abs(query_delta)), q);
      result.max_abs_score = std::max(result.max_abs_score, std::abs(inputs.scale) * q_k.sum_abs);
    }
  }
  return result;
}

}  // namespace hilbertring

#include "core/reference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/random.h"
#include "tests/core/random_specification.h"

namespace hilbertring {
namespace {

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }

std::vector<std::int64_t> inverse(const std::vector<std::int64_t>& order) {
  std::vector<std::int64_t> result(order.size());
  for (std::size_t p = 0; p < order.size(); ++p) result[at(order[p])] = static_cast<std::int64_t>(p);
  return result;
}

/// [B, N, heads, D] in sequence order, standard normal.
struct HostTensor {
  HostTensor(const Shape& shape, std::int64_t num_heads, TensorId id) : tokens(shape.tokens), heads(num_heads), dim(shape.head_dim) {
    for (std::int64_t i = 0; i < shape.batch * tokens * heads * dim; ++i) values.push_back(normal_at(11, id, i));
  }
  std::span<double> row(std::int64_t batch, std::int64_t head, SequenceIndex token) {
    return std::span(values).subspan(at(((batch * tokens + token.value) * heads + head) * dim), at(dim));
  }
  RowReader reader() {
    return [this](std::int64_t batch, std::int64_t head, SequenceIndex token, std::span<double> out) {
      const std::span<double> source = row(batch, head, token);
      std::copy(source.begin(), source.end(), out.begin());
    };
  }

  std::int64_t tokens, heads, dim;
  std::vector<double> values;
};

/// One attention problem held in memory, with a drawn order of queries and of keys.
struct Problem {
  Problem(const Specification& s, const Shape& problem_shape, Draw& draw)
      : shape(problem_shape),
        specification(s),
        pattern(s, problem_shape),
        query_order(draw.permutation(shape.tokens)),
        key_order(s.curve_on == CurveOn::kQkv ? query_order : draw.permutation(shape.tokens)),
        query_place(inverse(query_order)),
        key_place(inverse(key_order)),
        q(shape, shape.heads, TensorId::kQ),
        k(shape, shape.kv_heads, TensorId::kK),
        v(shape, shape.kv_heads, TensorId::kV),
        d_o(shape, shape.heads, TensorId::kDo) {}

  ReferenceInputs inputs() {
    const OrderLookup order = {.query_index = [this](Position p) { return SequenceIndex(query_order[at(p.value)]); },
                               .key_index = [this](Position p) { return SequenceIndex(key_order[at(p.value)]); },
                               .query_position = [this](SequenceIndex t) { return Position(query_place[at(t.value)]); },
                               .key_position = [this](SequenceIndex t) { return Position(key_place[at(t.value)]); }};
    return {.pattern = &pattern,
            .order = order,
            .scale = specification.scale_for(shape),
            .q = q.reader(),
            .k = k.reader(),
            .v = v.reader(),
            .d_o = d_o.reader()};
  }
  /// M(query, key) of SPEC.md section 4, both given by their place in the sequence.
  std::int64_t multiplicity(std::int64_t head, SequenceIndex query, SequenceIndex key) const {
    const Position query_position(query_place[at(query.value)]);
    const Position key_position(key_place[at(key.value)]);
    if (specification.causal == Causal::kSequence && key > query) return 0;
    if (specification.causal == Causal::kPosition && key_position > query_position) return 0;
    std::int64_t count = 0;
    for (std::int64_t index = 0; index < pattern.num_branches(); ++index) {
      const Branch& branch = pattern.branch(index);
      count += branch.has_head(head) && branch.allows(head, query_position, key_position) ? 1 : 0;
    }
    return count;
  }
  ReferenceKeyRow key_row(std::int64_t batch, std::int64_t kv_head, SequenceIndex token) {
    const QueryScalar lse = [this](std::int64_t b, std::int64_t h, SequenceIndex t) { return reference_query_row(inputs(), b, h, t).lse; };
    const QueryScalar delta = [this](std::int64_t b, std::int64_t h, SequenceIndex t) { return reference_query_row(inputs(), b, h, t).delta; };
    return reference_key_row(inputs(), batch, kv_head, token, lse, delta);
  }
  /// sum dO * o over everything: the gradients are its derivatives.
  double loss() {
    double sum = 0;
    for_each_query([&](std::int64_t b, std::int64_t h, SequenceIndex t) { sum += reference_query_row(inputs(), b, h, t).delta; });
    return sum;
  }
  template <class Visit>
  void for_each_query(Visit&& visit) const {
    for (std::int64_t b = 0; b < shape.batch; ++b) {
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        for (SequenceIndex t(0); t.value < shape.tokens; ++t) visit(b, h, t);
      }
    }
  }
  template <class Visit>
  void for_each_key(Visit&& visit) const {
    for (std::int64_t b = 0; b < shape.batch; ++b) {
      for (std::int64_t g = 0; g < shape.kv_heads; ++g) {
        for (SequenceIndex t(0); t.value < shape.tokens; ++t) visit(b, g, t);
      }
    }
  }

  Shape shape;
  Specification specification;
  Pattern pattern;
  std::vector<std::int64_t> query_order, key_order, query_place, key_place;
  HostTensor q, k, v, d_o;
};

/// The whole function by matrices [B, H, N, N] and loops over everything, all branches of SPEC.md section 4 summed at once.
struct DenseResult {
  explicit DenseResult(Problem& problem)
      : o(problem.shape, problem.shape.heads, TensorId::kQ), dq(o), dk(problem.shape, problem.shape.kv_heads, TensorId::kK), dv(dk) {
    for (HostTensor* tensor : {&o, &dq, &dk, &dv}) std::fill(tensor->values.begin(), tensor->values.end(), 0.0);
    problem.for_each_query([&](std::int64_t b, std::int64_t h, SequenceIndex i) { add_query(problem, b, h, i); });
  }

  void add_query(Problem& problem, std::int64_t b, std::int64_t h, SequenceIndex i) {
    const std::int64_t n = problem.shape.tokens;
    const std::int64_t g = h / (problem.shape.heads / problem.shape.kv_heads);
    const double scale = problem.specification.scale.value_or(1 / std::sqrt(static_cast<double>(problem.shape.head_dim)));
    const auto inner = [](std::span<const double> x, std::span<const double> y) { return std::inner_product(x.begin(), x.end(), y.begin(), 0.0); };
    const auto add = [](std::span<double> y, double factor, std::span<const double> x) {
      for (std::size_t d = 0; d < x.size(); ++d) y[d] += factor * x[d];
    };
    std::vector<double> weights;
    for (SequenceIndex j(0); j.value < n; ++j) {
      const double score = scale * inner(problem.q.row(b, h, i), problem.k.row(b, g, j));
      weights.push_back(static_cast<double>(problem.multiplicity(h, i, j)) * std::exp(score));
    }
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    lse.push_back(std::log(sum));
    if (sum == 0) return;
    for (SequenceIndex j(0); j.value < n; ++j) add(o.row(b, h, i), weights[at(j.value)] / sum, problem.v.row(b, g, j));
    const double delta = inner(problem.d_o.row(b, h, i), o.row(b, h, i));
    for (SequenceIndex j(0); j.value < n; ++j) {
      const double p = weights[at(j.value)] / sum;
      const double ds = p * (inner(problem.d_o.row(b, h, i), problem.v.row(b, g, j)) - delta);
      add(dq.row(b, h, i), scale * ds, problem.k.row(b, g, j));
      add(dk.row(b, g, j), scale * ds, problem.q.row(b, h, i));
      add(dv.row(b, g, j), p, problem.d_o.row(b, h, i));
    }
  }

  HostTensor o, dq, dk, dv;
  std::vector<double> lse;  ///< [B, H, N]
};

/// Largest |actual - expected|, NaN if any entry is.
double worst_difference(std::span<const double> actual, std::span<const double> expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::quiet_NaN();
  double worst = 0;
  for (std::size_t d = 0; d < actual.size(); ++d) {
    const double difference = std::abs(actual[d] - expected[d]);
    if (std::isnan(difference)) return difference;
    worst = std::max(worst, difference);
  }
  return worst;
}

Problem drawn_problem(std::uint64_t seed) {
  Draw draw(seed);
  Shape shape = draw_shape(draw, 20);
  shape.batch = draw.between(1, 2);
  Specification s = draw_specification(draw, shape);
  return Problem(s, shape, draw);
}

std::string describe(std::uint64_t seed, const Problem& problem) {
  return "seed " + std::to_string(seed) + ", " + to_string(problem.shape) + ", " + to_json(problem.specification);
}

TEST(ReferenceTest, QueryRowsAgreeWithDenseMatrices) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Problem problem = drawn_problem(seed);
    DenseResult dense(problem);
    std::size_t row = 0;

    problem.for_each_query([&](std::int64_t b, std::int64_t h, SequenceIndex t) {
      const ReferenceQueryRow actual = reference_query_row(problem.inputs(), b, h, t);
      const double lse = dense.lse[row++];

      ASSERT_TRUE(actual.lse == lse || std::abs(actual.lse - lse) <= 1e-12 * (1 + std::abs(lse)))
          << describe(seed, problem) << " " << actual.lse << " " << lse;
      ASSERT_LE(worst_difference(actual.o, dense.o.row(b, h, t)), 1e-12) << describe(seed, problem);
      ASSERT_LE(worst_difference(actual.dq, dense.dq.row(b, h, t)), 1e-11) << describe(seed, problem);
    });
  }
}

TEST(ReferenceTest, KeyRowsAgreeWithDenseMatrices) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Problem problem = drawn_problem(seed);
    DenseResult dense(problem);

    problem.for_each_key([&](std::int64_t b, std::int64_t g, SequenceIndex t) {
      const ReferenceKeyRow actual = problem.key_row(b, g, t);

      ASSERT_LE(worst_difference(actual.dk, dense.dk.row(b, g, t)), 1e-11) << describe(seed, problem);
      ASSERT_LE(worst_difference(actual.dv, dense.dv.row(b, g, t)), 1e-11) << describe(seed, problem);
    });
  }
}

/// Two branches that overlap, shared KV heads, dilated keys, causality: everything that makes gradients hard.
Problem hard_problem() {
  Draw draw(3);
  const Specification s{
      .segment_lengths = {6, 14}, .dilation_rates = {1, 3}, .dilate = Dilate::kKv, .offset = Offset::kHeadMod, .causal = Causal::kSequence};
  return Problem(s, {.batch = 1, .tokens = 14, .heads = 4, .kv_heads = 2, .head_dim = 8}, draw);
}

/// (loss(x + step) - loss(x - step)) / (2 step), x restored.
double central_difference(Problem& problem, double& x) {
  constexpr double kStep = 1e-5;
  const double middle = x;
  x = middle + kStep;
  const double above = problem.loss();
  x = middle - kStep;
  const double below = problem.loss();
  x = middle;
  return (above - below) / (2 * kStep);
}

TEST(ReferenceTest, QueryGradientEqualsFiniteDifferences) {
  Problem problem = hard_problem();

  for (SequenceIndex t(0); t.value < problem.shape.tokens; ++t) {
    const ReferenceQueryRow row = reference_query_row(problem.inputs(), 0, t.value % 4, t);
    for (const std::size_t d : {0u, 7u}) {
      EXPECT_LE(std::abs(row.dq[d] - central_difference(problem, problem.q.row(0, t.value % 4, t)[d])), 1e-8)
          << "token " << t.value << " column " << d;
    }
  }
}

TEST(ReferenceTest, KeyAndValueGradientsEqualFiniteDifferences) {
  Problem problem = hard_problem();

  for (SequenceIndex t(0); t.value < problem.shape.tokens; ++t) {
    const ReferenceKeyRow row = problem.key_row(0, t.value % 2, t);
    for (const std::size_t d : {1u, 6u}) {
      EXPECT_LE(std::abs(row.dk[d] - central_difference(problem, problem.k.row(0, t.value % 2, t)[d])), 1e-8)
          << "token " << t.value << " column " << d;
      EXPECT_LE(std::abs(row.dv[d] - central_difference(problem, problem.v.row(0, t.value % 2, t)[d])), 1e-8)
          << "token " << t.value << " column " << d;
    }
  }
}

TEST(ReferenceTest, EmptyRowIsZeroNotNan) {
  Draw draw(1);
  const Specification s{.segment_lengths = {5}, .dilation_rates = {4}, .offset = Offset::kZero};
  Problem problem(s, {.batch = 1, .tokens = 10, .heads = 1, .kv_heads = 1, .head_dim = 8}, draw);
  const std::vector<double> zeros(8, 0.0);
  const SequenceIndex off_grid(problem.query_order[1]);

  const ReferenceQueryRow query = reference_query_row(problem.inputs(), 0, 0, off_grid);
  const ReferenceKeyRow key = problem.key_row(0, 0, off_grid);

  EXPECT_EQ(query.lse, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(query.delta, 0);
  for (const auto* row : {&query.o, &query.o_abs, &query.dq, &query.dq_abs, &key.dk, &key.dk_abs, &key.dv, &key.dv_abs}) EXPECT_EQ(*row, zeros);
}

TEST(ReferenceTest, SurvivesLseGapOf1e4) {
  Problem problem = hard_problem();
  for (double& x : problem.q.values) x *= 1e4;

  problem.for_each_query([&](std::int64_t b, std::int64_t h, SequenceIndex t) {
    const ReferenceQueryRow row = reference_query_row(problem.inputs(), b, h, t);

    double largest_value = 0;
    for (const double x : problem.v.values) largest_value = std::max(largest_value, std::abs(x));
    for (const double x : row.o) ASSERT_LE(std::abs(x), largest_value);
    for (const double x : row.dq) ASSERT_TRUE(std::isfinite(x));
  });
}

TEST(ReferenceTest, CompanionsAreTheSumsOfAbsoluteTerms) {
  Problem signed_problem = hard_problem();
  Problem positive_problem = hard_problem();
  for (HostTensor* tensor : {&positive_problem.q, &positive_problem.k, &positive_problem.v, &positive_problem.d_o}) {
    for (double& x : tensor->values) x = std::abs(x);
  }

  signed_problem.for_each_query([&](std::int64_t b, std::int64_t h, SequenceIndex t) {
    const ReferenceQueryRow row = reference_query_row(signed_problem.inputs(), b, h, t);
    const ReferenceQueryRow positive = reference_query_row(positive_problem.inputs(), b, h, t);

    for (std::size_t d = 0; d < 8; ++d) {
      ASSERT_LE(std::abs(row.o[d]), row.o_abs[d] * (1 + 1e-12));
      ASSERT_LE(std::abs(row.dq[d]), row.dq_abs[d] * (1 + 1e-12));
      ASSERT_EQ(positive.o[d], positive.o_abs[d]) << "without signs the sum is the sum of absolute values";
    }
    ASSERT_EQ(row.max_abs_score, positive.max_abs_score);
  });
}

TEST(ReferenceTest, WithoutUpstreamGradientThereAreNoGradients) {
  Problem problem = hard_problem();
  ReferenceInputs inputs = problem.inputs();
  inputs.d_o = nullptr;

  const ReferenceQueryRow row = reference_query_row(inputs, 0, 0, SequenceIndex(3));

  EXPECT_EQ(row.o, reference_query_row(problem.inputs(), 0, 0, SequenceIndex(3)).o);
  EXPECT_TRUE(row.dq.empty() && row.dq_abs.empty());
  EXPECT_EQ(row.delta, 0);
}

}  // namespace
}  // namespace hilbertring

#include "ring/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "ring/loopback.h"
#include "tests/ring/attention_job.h"

namespace hilbertring {
namespace {

class RingAttentionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!backend_under_test().missing.empty()) GTEST_SKIP() << backend_under_test().missing;
  }
};

WholeResult run_on_loopback(const Problem& problem, std::uint64_t seed, std::int64_t ranks, int num_threads = 1,
                            InputSource source = InputSource::kLoaded) {
  const auto schedule = make_schedule(problem, ranks);
  WholeResult result;
  std::mutex mutex;
  run_loopback(ranks, [&](Transport& transport) { run_rank(transport, schedule, seed, num_threads, result, mutex, source); });
  return result;
}

/// Float64 reference of one problem, row by row.
class Expected {
 public:
  Expected(const Problem& problem, std::uint64_t seed)
      : problem_(problem),
        seed_(seed),
        pattern_(problem.specification, problem.shape),
        orders_(make_orders(problem.specification, problem.shape.tokens)) {
    inputs_ = {
        .pattern = &pattern_,
        .order = {[this](Position p) { return orders_.queries->sequence_index(p); }, [this](Position p) { return orders_.keys->sequence_index(p); },
                  [this](SequenceIndex t) { return orders_.queries->position(t); }, [this](SequenceIndex t) { return orders_.keys->position(t); }},
        .scale = problem.specification.scale_for(problem.shape),
        .q = reader(ShardTensor::kQ),
        .k = reader(ShardTensor::kK),
        .v = reader(ShardTensor::kV),
        .d_o = reader(ShardTensor::kDo)};
    const Shape& shape = problem.shape;
    for (std::int64_t b = 0; b < shape.batch; ++b) {
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        for (SequenceIndex t(0); t.value < shape.tokens; ++t) rows_.push_back(reference_query_row(inputs_, b, h, t));
      }
    }
  }

  const ReferenceQueryRow& query_row(std::int64_t b, std::int64_t h, SequenceIndex t) const {
    return rows_[static_cast<std::size_t>((b * problem_.shape.heads + h) * problem_.shape.tokens + t.value)];
  }
  ReferenceKeyRow key_row(std::int64_t b, std::int64_t g, SequenceIndex t) const {
    return reference_key_row(
        inputs_, b, g, t, [this](std::int64_t bb, std::int64_t h, SequenceIndex i) { return query_row(bb, h, i).lse; },
        [this](std::int64_t bb, std::int64_t h, SequenceIndex i) { return query_row(bb, h, i).delta; });
  }

 private:
  RowReader reader(ShardTensor t) const {
    return [shape = problem_.shape, t, elements = input_elements(problem_, seed_, t)](std::int64_t b, std::int64_t h, SequenceIndex n,
                                                                                      std::span<double> row) {
      const std::int64_t begin = ((b * shape.tokens + n.value) * heads_of(shape, t) + h) * shape.head_dim;
      std::copy_n(elements.begin() + begin, row.size(), row.begin());
    };
  }

  Problem problem_;
  std::uint64_t seed_;
  Pattern pattern_;
  Orders orders_;
  ReferenceInputs inputs_;
  std::vector<ReferenceQueryRow> rows_;
};

/// |actual - expected| against rounding errors of the terms that make it up.
void expect_row(const WholeResult& result, const Problem& problem, ShardTensor t, std::int64_t b, std::int64_t h, SequenceIndex n,
                const std::vector<double>& expected, const std::vector<double>& magnitude, double max_abs_score) {
  const Shape& shape = problem.shape;
  const ElementType real = arithmetic_type(problem.type);
  const double roundoff = backend_under_test().roundoff(problem.type);
  const std::int64_t begin = ((b * shape.tokens + n.value) * heads_of(shape, t) + h) * shape.head_dim;
  for (std::size_t d = 0; d < expected.size(); ++d) {
    const double actual = load_element(result.tensors.at(t).data(), real, begin + static_cast<std::int64_t>(d));
    const double bound = 16 * roundoff * (1 + max_abs_score) * magnitude[d];
    ASSERT_TRUE(std::abs(actual - expected[d]) <= bound)
        << "tensor " << static_cast<int>(t) << " batch " << b << " head " << h << " token " << n.value << " column " << d << ": " << actual
        << " instead of " << expected[d] << ", bound " << bound;
  }
}

void expect_equals_reference(const WholeResult& result, const Problem& problem, std::uint64_t seed) {
  const Shape& shape = problem.shape;
  const Expected expected(problem, seed);
  // Scores are summed in the arithmetic type on every backend.
  constexpr double lse_tolerance = 1e-6;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (SequenceIndex n(0); n.value < shape.tokens; ++n) {
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        const ReferenceQueryRow& row = expected.query_row(b, h, n);
        const double lse =
            load_element(result.tensors.at(ShardTensor::kLse).data(), ElementType::kFloat32, (b * shape.heads + h) * shape.tokens + n.value);
        if (std::isinf(row.lse)) {
          ASSERT_EQ(lse, row.lse);
        } else {
          ASSERT_TRUE(std::abs(lse - row.lse) <= lse_tolerance * (1 + row.max_abs_score + std::abs(row.lse))) << lse << " instead of " << row.lse;
        }
        expect_row(result, problem, ShardTensor::kO, b, h, n, row.o, row.o_abs, row.max_abs_score);
        expect_row(result, problem, ShardTensor::kDq, b, h, n, row.dq, row.dq_abs, row.max_abs_score);
      }
      for (std::int64_t g = 0; g < shape.kv_heads; ++g) {
        const ReferenceKeyRow row = expected.key_row(b, g, n);
        expect_row(result, problem, ShardTensor::kDk, b, g, n, row.dk, row.dk_abs, row.max_abs_score);
        expect_row(result, problem, ShardTensor::kDv, b, g, n, row.dv, row.dv_abs, row.max_abs_score);
      }
    }
  }
}

TEST_F(RingAttentionTest, EqualsTheReferenceOverRandomSpecifications) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed % 4);
    Problem problem = random_problem(seed, ranks);
    problem.type = static_cast<ElementType>(seed / 4 % 4);
    SCOPED_TRACE(describe(seed, problem));

    expect_equals_reference(run_on_loopback(problem, seed, ranks), problem, seed);

    if (HasFatalFailure()) return;
  }
}

TEST_F(RingAttentionTest, SameBitsForAnyRankCountAndThreadCount) {
  for (std::uint64_t seed = 1000; seed < 1060; ++seed) {
    Problem problem = random_problem(seed, 8);
    problem.type = static_cast<ElementType>(seed % 4);
    SCOPED_TRACE(describe(seed, problem));
    const WholeResult alone = run_on_loopback(problem, seed, 1);

    for (const std::int64_t ranks : {2, 3, 4, 7, 8}) EXPECT_EQ(run_on_loopback(problem, seed, ranks), alone) << ranks << " ranks";
    EXPECT_EQ(run_on_loopback(problem, seed, 1, 3), alone);
    EXPECT_EQ(run_on_loopback(problem, seed, 3, 2), alone);
  }
}

TEST_F(RingAttentionTest, SameBitsForEitherRotation) {
  for (std::uint64_t seed = 1100; seed < 1140; ++seed) {
    Problem problem = random_problem(seed, 5);
    problem.type = static_cast<ElementType>(seed % 4);
    SCOPED_TRACE(describe(seed, problem));
    problem.backward_rotation = Rotation::kKvUp;
    const WholeResult with_keys = run_on_loopback(problem, seed, 5);

    problem.backward_rotation = Rotation::kQueryDown;

    EXPECT_EQ(run_on_loopback(problem, seed, 5), with_keys);
  }
}

TEST_F(RingAttentionTest, InputsMadeOnTheSpotAreTheNumbersThatCouldBeLoaded) {
  for (std::uint64_t seed = 3000; seed < 3016; ++seed) {
    Problem problem = random_problem(seed, 3);
    problem.type = static_cast<ElementType>(seed % 4);
    SCOPED_TRACE(describe(seed, problem));

    const WholeResult loaded = run_on_loopback(problem, seed, 3);
    const WholeResult made = run_on_loopback(problem, seed, 3, 1, InputSource::kMadeOnTheSpot);

    ASSERT_TRUE(made == loaded);
  }
}

TEST_F(RingAttentionTest, TensorsInPiecesGiveTheSameBitsInThePredictedMemory) {
  for (std::uint64_t seed = 3100; seed < 3140; ++seed) {
    const std::int64_t ranks = 1 + static_cast<std::int64_t>(seed / 4 % 4);
    Problem problem = random_problem(seed, ranks);
    problem.type = static_cast<ElementType>(seed % 4);
    SCOPED_TRACE(describe(seed, problem));

    const WholeResult whole = run_on_loopback(problem, seed, ranks);
    const WholeResult in_pieces = run_on_loopback(problem, seed, ranks, 1, InputSource::kReadInPieces);

    ASSERT_TRUE(in_pieces == whole);
  }
}

TEST_F(RingAttentionTest, AllowedPairsOfAllRanksAreThePatternsPairs) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Problem problem = random_problem(seed, 3);
    const Orders orders = make_orders(problem.specification, problem.shape.tokens);
    const Range<Position> all{Position(0), Position(problem.shape.tokens)};
    std::vector<std::int64_t> query_times(static_cast<std::size_t>(problem.shape.tokens)), key_times = query_times;
    orders.queries->fill(all, query_times);
    orders.keys->fill(all, key_times);

    const std::int64_t expected =
        problem.shape.batch * count_allowed_pairs(Pattern(problem.specification, problem.shape), all, all, query_times, key_times);

    EXPECT_EQ(run_on_loopback(problem, seed, 3).allowed_pairs, expected) << "seed " << seed;
  }
}

TEST_F(RingAttentionTest, RefusesAPredictionAboveTheLimit) {
  const Problem problem = random_problem(3, 2);
  const auto schedule = make_schedule(problem, 1);

  run_loopback(1, [&](Transport& transport) {
    try {
      RingAttention attention(transport, schedule, {.memory_limit_bytes = 1000});
      FAIL() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFailure);
      EXPECT_NE(std::string(error.what()).find("not enough memory: rank 0 needs "), std::string::npos) << error.what();
    }
  });
}

TEST_F(RingAttentionTest, RefusesMoreRanksThanUnits) {
  Problem problem = random_problem(3, 2);
  problem.specification.chunk = problem.shape.tokens;

  try {
    make_schedule(problem, 2);
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(std::string(error.what()).find("too many ranks: 2 ranks"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace hilbertring

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "ring/hilbertring.h"
#include "ring/redistribution.h"

namespace hilbertring {
namespace {

constexpr Shape kShape{.batch = 2, .tokens = 90, .heads = 4, .kv_heads = 2, .head_dim = 16};

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int world_size() {
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

Specification make_specification() {
  Specification specification;
  specification.segment_lengths = {20, 90};
  specification.dilation_rates = {1, 3};
  specification.dilate = Dilate::kKv;
  specification.causal = Causal::kSequence;
  specification.chunk = 8;
  return specification;
}

Range<SequenceIndex> slab_of(int rank, int num_ranks) { return sequence_slab(kShape.tokens, num_ranks, Rank(rank)); }

/// Rows of all batch elements: a rank's part of a tensor that is a pure function of (batch, token, element of the row).
std::vector<float> make_slab(TensorId tensor, std::int64_t heads, Range<SequenceIndex> tokens) {
  std::vector<float> slab;
  const std::int64_t row_elements = heads * kShape.head_dim;
  for (std::int64_t b = 0; b < kShape.batch; ++b) {
    for (SequenceIndex t = tokens.begin; t < tokens.end; ++t) {
      for (std::int64_t e = 0; e < row_elements; ++e) {
        slab.push_back(static_cast<float>(normal_at(3, tensor, (b * kShape.tokens + t.value) * row_elements + e)));
      }
    }
  }
  return slab;
}

/// One rank's tensors, inputs random, outputs NaN.
struct Slabs {
  explicit Slabs(Range<SequenceIndex> tokens)
      : q(make_slab(TensorId::kQ, kShape.heads, tokens)),
        k(make_slab(TensorId::kK, kShape.kv_heads, tokens)),
        v(make_slab(TensorId::kV, kShape.kv_heads, tokens)),
        d_o(make_slab(TensorId::kDo, kShape.heads, tokens)),
        o(q.size(), kUnwritten),
        lse(static_cast<std::size_t>(kShape.batch * kShape.heads * tokens.size()), kUnwritten),
        dq(q.size(), kUnwritten),
        dk(k.size(), kUnwritten),
        dv(v.size(), kUnwritten) {}

  static constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();
  AttentionInputs<float> inputs() const { return {.q = q, .k = k, .v = v, .d_o = d_o}; }
  AttentionOutputs<float> outputs() { return {.o = o, .lse = lse, .dq = dq, .dk = dk, .dv = dv}; }

  std::vector<float> q, k, v, d_o, o, lse, dq, dk, dv;
};

/// The elements of tokens `part` of a tensor of all tokens [B, N, row].
std::vector<float> rows_of(const std::vector<float>& whole, std::int64_t row_elements, Range<SequenceIndex> part) {
  std::vector<float> rows;
  for (std::int64_t b = 0; b < kShape.batch; ++b) {
    const auto begin = whole.begin() + (b * kShape.tokens + part.begin.value) * row_elements;
    rows.insert(rows.end(), begin, begin + part.size() * row_elements);
  }
  return rows;
}

/// Text of the error that the call throws here, empty if it throws none.
std::string error_of(const Specification& specification, const AttentionInputs<float>& inputs, const AttentionOutputs<float>& outputs) {
  try {
    attention<float>(MPI_COMM_WORLD, specification, kShape, inputs, outputs);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kUsage ? error.what() : std::string("not a usage error: ") + error.what();
  }
  return "";
}

TEST(AttentionCall, GivesEachRankTheBitsOfOneRank) {
  const auto tokens = slab_of(world_rank(), world_size());
  Slabs mine(tokens);
  Slabs whole(slab_of(0, 1));

  attention<float>(MPI_COMM_WORLD, make_specification(), kShape, mine.inputs(), mine.outputs());
  attention<float>(MPI_COMM_SELF, make_specification(), kShape, whole.inputs(), whole.outputs());

  const std::int64_t query_row = kShape.heads * kShape.head_dim, key_row = kShape.kv_heads * kShape.head_dim;
  EXPECT_EQ(mine.o, rows_of(whole.o, query_row, tokens));
  EXPECT_EQ(mine.dq, rows_of(whole.dq, query_row, tokens));
  EXPECT_EQ(mine.dk, rows_of(whole.dk, key_row, tokens));
  EXPECT_EQ(mine.dv, rows_of(whole.dv, key_row, tokens));
}

TEST(AttentionCall, EqualScoresGiveTheMeanOfTheValues) {
  const auto tokens = slab_of(world_rank(), world_size());
  Slabs slabs(tokens);
  std::fill(slabs.q.begin(), slabs.q.end(), 0.0F);
  const Slabs whole(slab_of(0, 1));
  Specification dense;
  dense.segment_lengths = {kShape.tokens};
  dense.dilation_rates = {1};
  dense.chunk = 8;

  attention<float>(MPI_COMM_WORLD, dense, kShape, slabs.inputs(), slabs.outputs());

  double mean = 0;
  for (std::int64_t t = 0; t < kShape.tokens; ++t) mean += whole.v[static_cast<std::size_t>(t * kShape.kv_heads * kShape.head_dim)];
  mean /= static_cast<double>(kShape.tokens);
  EXPECT_NEAR(slabs.o[0], mean, 1e-6);
  for (const float lse : slabs.lse) EXPECT_NEAR(lse, std::log(static_cast<double>(kShape.tokens)), 1e-6);
}

TEST(AttentionCall, LeavesOutWhatNobodyAskedFor) {
  Slabs slabs(slab_of(world_rank(), world_size()));
  Slabs same(slab_of(world_rank(), world_size()));

  const AttentionReport report =
      attention<float>(MPI_COMM_WORLD, make_specification(), kShape, {.q = slabs.q, .k = slabs.k, .v = slabs.v}, {.o = slabs.o});
  attention<float>(MPI_COMM_WORLD, make_specification(), kShape, same.inputs(), same.outputs());

  EXPECT_EQ(slabs.o, same.o);
  EXPECT_EQ(report.backward.allowed_pairs, 0);
}

TEST(AttentionCall, SentBytesAreThosePredicted) {
  Slabs slabs(slab_of(world_rank(), world_size()));

  const AttentionReport report = attention<float>(MPI_COMM_WORLD, make_specification(), kShape, slabs.inputs(), slabs.outputs());

  EXPECT_EQ(report.forward.sent_bytes, report.forward.predicted_bytes);
  EXPECT_EQ(report.backward.sent_bytes, report.backward.predicted_bytes);
}

TEST(AttentionCall, EveryRankRefusesAShortSlabOnTheLastRank) {
  Slabs slabs(slab_of(world_rank(), world_size()));
  auto inputs = slabs.inputs();
  if (world_rank() == world_size() - 1) inputs.k = inputs.k.first(inputs.k.size() - 1);

  const std::string error = error_of(make_specification(), inputs, slabs.outputs());

  EXPECT_NE(error.find("attention: k has "), std::string::npos) << error;
}

TEST(AttentionCall, EveryRankRefusesGradientsWithoutUpstreamGradient) {
  Slabs slabs(slab_of(world_rank(), world_size()));
  auto inputs = slabs.inputs();
  inputs.d_o = {};

  const std::string error = error_of(make_specification(), inputs, slabs.outputs());

  EXPECT_NE(error.find("need d_o"), std::string::npos) << error;
}

TEST(AttentionCall, EveryRankRefusesRanksThatDisagree) {
  if (world_size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  Slabs slabs(slab_of(world_rank(), world_size()));
  Specification specification = make_specification();
  if (world_rank() == 1) specification.chunk = 9;

  const std::string error = error_of(specification, slabs.inputs(), slabs.outputs());

  EXPECT_NE(error.find("ranks disagree: rank 0 has"), std::string::npos) << error;
  EXPECT_NE(error.find("rank 1 has"), std::string::npos) << error;
}

}  // namespace
}  // namespace hilbertring

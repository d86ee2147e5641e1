#include <gtest/gtest.h>
#include <mpi.h>

#include "ring/loopback.h"
#include "ring/mpi_transport.h"
#include "tests/ring/attention_job.h"

namespace hilbertring {
namespace {

/// Sums over ranks of the bytes that differ from `expected` in each rank's own slab.
std::int64_t count_differences(const Problem& problem, Transport& transport, const WholeResult& actual, const WholeResult& expected) {
  const Range<SequenceIndex> own = sequence_slab(problem.shape.tokens, transport.num_ranks(), transport.rank());
  std::int64_t differences = 0;
  for (const auto& [tensor, bytes] : actual.tensors) {
    const bool is_lse = tensor == ShardTensor::kLse;
    const std::int64_t row = is_lse ? 4 : heads_of(problem.shape, tensor) * problem.shape.head_dim * size_bytes(arithmetic_type(problem.type));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const SequenceIndex token(static_cast<std::int64_t>(i) / row % problem.shape.tokens);
      if (own.contains(token) && bytes[i] != expected.tensors.at(tensor)[i]) ++differences;
    }
  }
  transport.all_reduce(std::span(&differences, 1), Reduction::kSum);
  return differences;
}

TEST(RingAttentionOverMpi, EqualsLoopbackBitwise) {
  if (!backend_under_test().missing.empty()) GTEST_SKIP() << backend_under_test().missing;
  const std::unique_ptr<Transport> transport = make_mpi_transport(MPI_COMM_WORLD);
  for (std::uint64_t seed = 2000; seed < 2030; ++seed) {
    Problem problem = random_problem(seed, 4);
    problem.type = static_cast<ElementType>(seed % 4);
    WholeResult over_mpi, alone;
    std::mutex mutex;

    run_rank(*transport, make_schedule(problem, transport->num_ranks()), seed, 1, over_mpi, mutex);
    run_loopback(1, [&](Transport& loopback) { run_rank(loopback, make_schedule(problem, 1), seed, 1, alone, mutex); });

    EXPECT_EQ(count_differences(problem, *transport, over_mpi, alone), 0) << "seed " << seed;
  }
}

}  // namespace
}  // namespace hilbertring

#include "tests/ring/loopback_comparison.h"

#include <gtest/gtest.h>

#include "ring/loopback.h"
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

}  // namespace

void expect_same_bits_as_alone(Transport& transport) {
  for (std::uint64_t seed = 2000; seed < 2030; ++seed) {
    Problem problem = random_problem(seed, 4);
    problem.type = static_cast<ElementType>(seed % 4);
    WholeResult over_ranks, alone;
    std::mutex mutex;

    run_rank(transport, make_schedule(problem, transport.num_ranks()), seed, 1, over_ranks, mutex);
    run_loopback(1, [&](Transport& loopback) { run_rank(loopback, make_schedule(problem, 1), seed, 1, alone, mutex); });

    EXPECT_EQ(count_differences(problem, transport, over_ranks, alone), 0) << "seed " << seed;
  }
}

}  // namespace hilbertring

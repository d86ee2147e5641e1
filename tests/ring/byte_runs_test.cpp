#include "ring/byte_runs.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ring/row_selection.h"
#include "tests/ring/random_problem.h"

namespace hilbertring {
namespace {

ConstTensor shard_of(const Schedule& schedule, Side side, Rank owner, std::int64_t columns) {
  const Shape& shape = schedule.problem().shape;
  return {nullptr, ElementType::kFloat16, shape.batch, side == Side::kKeys ? shape.kv_heads : shape.heads, schedule.placement().num_rows(owner),
          columns};
}

/// How often the runs have each byte of the tensor.
std::vector<int> bytes_in(const ConstTensor& tensor, const std::vector<ByteRuns>& runs) {
  std::vector<int> counts(static_cast<std::size_t>(tensor.size_bytes()), 0);
  for (const ByteRuns& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) {
      for (std::int64_t b = 0; b < run.width; ++b) ++counts.at(static_cast<std::size_t>(run.offset + i * run.pitch + b));
    }
  }
  return counts;
}

std::vector<int> bytes_of_rows(const ConstTensor& tensor, const RowSelection& rows) {
  std::vector<int> counts(static_cast<std::size_t>(tensor.size_bytes()), 0);
  for (std::int64_t head = 0; head < tensor.batch * tensor.heads; ++head) {
    rows.for_each_run(head % tensor.heads, [&](LocalRow first, std::int64_t num_rows) {
      const std::int64_t begin = (head * tensor.rows + first.value) * tensor.row_bytes();
      for (std::int64_t b = 0; b < num_rows * tensor.row_bytes(); ++b) ++counts.at(static_cast<std::size_t>(begin + b));
    });
  }
  return counts;
}

TEST(ByteRuns, HaveEveryByteOfTheSelectedRowsOnce) {
  constexpr std::int64_t kColumns = 3;
  std::int64_t num_refused = 0, num_checked = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const std::int64_t ranks = 2 + static_cast<std::int64_t>(seed % 4);
    const auto schedule = make_schedule(random_problem(seed, ranks), ranks);
    SCOPED_TRACE(describe(seed, schedule->problem()));
    for (const Side side : {Side::kKeys, Side::kQueries}) {
      for (Rank owner(0); owner < Rank(ranks); ++owner) {
        const Rank visitor((owner.value + 1) % ranks);
        const RowSelection rows = RowSelection::needed(*schedule, side, owner, visitor);
        const ConstTensor tensor = shard_of(*schedule, side, owner, kColumns);

        const auto runs = byte_runs(tensor, rows);

        runs ? ++num_checked : ++num_refused;
        if (!runs) continue;
        ASSERT_EQ(bytes_in(tensor, *runs), bytes_of_rows(tensor, rows));
      }
    }
  }
  EXPECT_GT(num_checked, 10 * num_refused);
}

/// The keys of the first of two ranks that the second needs, by the pattern's one branch.
std::vector<ByteRuns> runs_of(Causal causal, Placement placement, std::int64_t dilation_rate) {
  Problem problem;
  problem.shape = {.batch = 2, .tokens = 4096, .heads = 4, .kv_heads = 4, .head_dim = 64};
  problem.specification.segment_lengths = {4096};
  problem.specification.dilation_rates = {dilation_rate};
  problem.specification.causal = causal;
  problem.specification.placement = placement;
  problem.specification.chunk = 256;
  const auto schedule = make_schedule(problem, 2);
  const auto runs = byte_runs(shard_of(*schedule, Side::kKeys, Rank(0), 64), RowSelection::needed(*schedule, Side::kKeys, Rank(0), Rank(1)));
  return runs.value_or(std::vector<ByteRuns>{});
}

TEST(ByteRuns, AWholeShardIsOne) {
  const std::vector<ByteRuns> expected = {{.offset = 0, .width = 2 * 4 * 2048 * 128, .pitch = 2 * 4 * 2048 * 128, .count = 1}};

  EXPECT_EQ(runs_of(Causal::kNone, Placement::kContiguous, 1), expected);
}

TEST(ByteRuns, NeighbouringRowsOfAllHeadsAreOneEach) {
  const std::vector<ByteRuns> runs = runs_of(Causal::kPosition, Placement::kZigzag, 1);

  ASSERT_FALSE(runs.empty());
  for (const ByteRuns& run : runs) EXPECT_EQ(run.count, 2 * 4);
}

TEST(ByteRuns, DilatedRowsOfAHeadAreOne) {
  const std::vector<ByteRuns> runs = runs_of(Causal::kNone, Placement::kContiguous, 4);

  ASSERT_EQ(runs.size(), 2 * 4);
  for (const ByteRuns& run : runs) EXPECT_EQ(run, (ByteRuns{.offset = run.offset, .width = 128, .pitch = 4 * 128, .count = 512}));
}

}  // namespace
}  // namespace hilbertring

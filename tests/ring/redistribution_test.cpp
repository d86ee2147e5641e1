// Linked with loopback_jobs.cpp and with mpi_jobs.cpp. Entries are their own global index and are compared exactly.
#include "ring/redistribution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/ring/jobs.h"
#include "tests/ring/whole_tensors.h"

namespace hilbertring {
namespace {

using testing::cut_rows;
using testing::expected_shard;
using testing::expected_slab;
using testing::kSizes;
using testing::run_in_jobs;
using testing::shard_view;
using testing::shuffled_tokens;
using testing::Sizes;

void expect_exact_both_ways(Transport& transport, const Sizes& s, SlabLayout layout, std::uint64_t seed, int num_threads = 1) {
  SCOPED_TRACE("N " + std::to_string(s.tokens) + ", seed " + std::to_string(seed) + ", rank " + std::to_string(transport.rank().value));
  const std::vector<std::int64_t> rows = cut_rows(shuffled_tokens(s.tokens, seed), transport, seed);
  const Redistribution redistribution(transport, s.tokens, rows, nullptr, num_threads);
  const std::vector<std::int64_t> slab = expected_slab(s, redistribution.slab(), layout);
  const std::vector<std::int64_t> shard = expected_shard(s, rows);
  std::vector<std::int64_t> moved_shard(shard.size(), -1), moved_slab(slab.size(), -1);
  const auto num_rows = static_cast<std::int64_t>(rows.size());

  redistribution.to_shard(std::as_bytes(std::span(slab)), shard_view<std::byte>(moved_shard, s, num_rows), layout);
  redistribution.to_slab(shard_view<const std::byte>(shard, s, num_rows), std::as_writable_bytes(std::span(moved_slab)), layout);

  EXPECT_TRUE(moved_shard == shard);
  EXPECT_TRUE(moved_slab == slab);
}

TEST(SequenceSlab, SlabsCoverTheSequenceOnceInTheOrderOfRanks) {
  for (const std::int64_t num_tokens : {0, 1, 5, 8, 1013}) {
    for (const std::int64_t num_ranks : {1, 2, 3, 7, 8}) {
      SequenceIndex end(0);
      for (std::int64_t r = 0; r < num_ranks; ++r) {
        const auto slab = sequence_slab(num_tokens, num_ranks, Rank(r));
        EXPECT_EQ(slab.begin, end);
        EXPECT_EQ(slab.size(), num_tokens / num_ranks + (r < num_tokens % num_ranks ? 1 : 0));
        end = slab.end;
      }
      EXPECT_EQ(end.value, num_tokens);
    }
  }
}

TEST(SequenceSlab, OwnerIsTheRankWhoseSlabHoldsTheToken) {
  for (const std::int64_t num_tokens : {1, 5, 8, 1013}) {
    for (const std::int64_t num_ranks : {1, 2, 3, 7, 8}) {
      for (SequenceIndex t(0); t.value < num_tokens; ++t) {
        EXPECT_TRUE(sequence_slab(num_tokens, num_ranks, slab_owner(num_tokens, num_ranks, t)).contains(t));
      }
    }
  }
}

TEST(Redistribution, EveryRowArrivesExactlyBothWays) {
  run_in_jobs([](Transport& transport) {
    for (const Sizes& sizes : kSizes) {
      for (std::uint64_t seed = 0; seed < 4; ++seed) expect_exact_both_ways(transport, sizes, SlabLayout::kTokenMajor, seed);
    }
  });
}

TEST(Redistribution, HeadMajorSlabsArriveExactlyBothWays) {
  run_in_jobs([](Transport& transport) {
    for (const Sizes& sizes : kSizes) expect_exact_both_ways(transport, sizes, SlabLayout::kHeadMajor, 9);
  });
}

TEST(Redistribution, RowsThatFillManyPartsArriveExactly) {
  const Sizes sizes{6001, 1, 8, 32};  // 12 MB: several parts of 1 MiB between any two of four ranks
  ASSERT_GT(6001 / 4 / 4 * 8 * 32 * 8, 0.5 * Redistribution::kPartBytes);

  run_in_jobs([&](Transport& transport) { expect_exact_both_ways(transport, sizes, SlabLayout::kTokenMajor, 5); });
}

TEST(Redistribution, TokensLongerThanAPartArriveExactly) {
  const Sizes sizes{9, 1, 600, 256};
  ASSERT_GT(600 * 256 * 8, Redistribution::kPartBytes);

  run_in_jobs([&](Transport& transport) { expect_exact_both_ways(transport, sizes, SlabLayout::kTokenMajor, 5); });
}

TEST(Redistribution, ThreadsChangeNothing) {
  run_in_jobs([](Transport& transport) { expect_exact_both_ways(transport, {3000, 2, 4, 16}, SlabLayout::kTokenMajor, 6, 3); });
}

TEST(Redistribution, TwoByteRowsArriveExactly) {
  run_in_jobs([](Transport& transport) {
    const auto rows = cut_rows(shuffled_tokens(999, 2), transport, 2);
    const Redistribution redistribution(transport, 999, rows);
    std::vector<std::uint16_t> slab(static_cast<std::size_t>(redistribution.slab().size())), shard(rows.size());
    std::iota(slab.begin(), slab.end(), static_cast<std::uint16_t>(redistribution.slab().begin.value));

    redistribution.to_shard(std::as_bytes(std::span(slab)),
                            {reinterpret_cast<std::byte*>(shard.data()), ElementType::kFloat16, 1, 1, static_cast<std::int64_t>(rows.size()), 1});

    EXPECT_TRUE(std::ranges::equal(shard, rows));
  });
}

/// What the constructor says to these rows.
std::string refusal(Transport& transport, std::int64_t num_tokens, const std::vector<std::int64_t>& rows) {
  try {
    const Redistribution redistribution(transport, num_tokens, rows);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kInput ? error.what() : "wrong kind";
  }
  return "nothing thrown";
}

TEST(Redistribution, RepeatedTokenIsNamedOnEveryRank) {
  run_in_jobs([](Transport& transport) {
    std::vector<std::int64_t> order = shuffled_tokens(100, 3);
    *std::ranges::find(order, 60) = 17;

    EXPECT_EQ(refusal(transport, 100, cut_rows(order, transport, 3)), "order is no permutation: token 17 occurs 2 times");
  });
}

TEST(Redistribution, MissingTokenIsNamedOnEveryRank) {
  run_in_jobs([](Transport& transport) {
    std::vector<std::int64_t> order = shuffled_tokens(100, 4);
    std::erase(order, 99);

    EXPECT_EQ(refusal(transport, 100, cut_rows(order, transport, 4)), "order is no permutation: token 99 occurs 0 times");
  });
}

TEST(Redistribution, RowThatIsNoTokenIsNamedOnEveryRank) {
  run_in_jobs([](Transport& transport) {
    const bool is_last = transport.rank().value == transport.num_ranks() - 1;
    const std::string last = std::to_string(transport.num_ranks() - 1);
    for (const std::int64_t wrong : {-1, 100}) {
      const std::vector<std::int64_t> rows = is_last ? std::vector<std::int64_t>{0, wrong} : std::vector<std::int64_t>{};

      EXPECT_EQ(refusal(transport, 100, rows),
                "order is no permutation: local row 1 of rank " + last + " has token " + std::to_string(wrong) + "; tokens are 0 to 99");
    }
  });
}

TEST(Redistribution, TensorOfAnotherSizeIsRefused) {
  run_in_jobs([](Transport& transport) {
    const auto rows = cut_rows(shuffled_tokens(10, 1), transport, 1);
    const auto num_rows = static_cast<std::int64_t>(rows.size());
    const Redistribution redistribution(transport, 10, rows);
    std::vector<std::byte> slab(static_cast<std::size_t>(redistribution.slab().size()) * 4), shard(rows.size() * 4 + 4);
    const Tensor fitting{shard.data(), ElementType::kFloat32, 1, 1, num_rows, 1}, longer{shard.data(), ElementType::kFloat32, 1, 1, num_rows + 1, 1};

    EXPECT_THROW(redistribution.to_shard(slab, longer), Error);
    slab.resize(slab.size() + 1);
    EXPECT_THROW(redistribution.to_slab(fitting, slab), Error);
  });
}

TEST(Redistribution, PredictedBytesEqualSentBytes) {
  run_in_jobs([](Transport& transport) {
    for (const Sizes& s : kSizes) {
      const auto rows = cut_rows(shuffled_tokens(s.tokens, 8), transport, 8);
      std::vector<std::int64_t> shard = expected_shard(s, rows);
      std::vector<std::int64_t> slab = expected_slab(s, sequence_slab(s.tokens, transport.num_ranks(), transport.rank()), SlabLayout::kTokenMajor);
      const auto view = shard_view<std::byte>(shard, s, static_cast<std::int64_t>(rows.size()));
      std::vector<std::int64_t> sent = {transport.sent_bytes()};

      const Redistribution redistribution(transport, s.tokens, rows);
      sent.push_back(transport.sent_bytes());
      redistribution.to_shard(std::as_bytes(std::span(slab)), view);
      sent.push_back(transport.sent_bytes());
      redistribution.to_slab(view, std::as_writable_bytes(std::span(slab)));
      sent.push_back(transport.sent_bytes());

      EXPECT_EQ(sent[1] - sent[0], redistribution.setup_sent_bytes());
      EXPECT_EQ(sent[2] - sent[1], redistribution.sent_bytes(Direction::kToShard, s.batch, s.heads, s.columns * 8));
      EXPECT_EQ(sent[3] - sent[2], redistribution.sent_bytes(Direction::kToSlab, s.batch, s.heads, s.columns * 8));
    }
  });
}

TEST(Redistribution, IdentityOrderSendsNothingButCounts) {
  run_in_jobs([](Transport& transport) {
    const auto slab = sequence_slab(77, transport.num_ranks(), transport.rank());
    std::vector<std::int64_t> rows(static_cast<std::size_t>(slab.size()));
    std::iota(rows.begin(), rows.end(), slab.begin.value);

    const Redistribution redistribution(transport, 77, rows);

    EXPECT_EQ(redistribution.sent_bytes(Direction::kToShard, 1, 1, 8), 0);
    EXPECT_EQ(redistribution.setup_sent_bytes(), 8 * (transport.num_ranks() - 1));
  });
}

TEST(Redistribution, PredictedMemoryEqualsPeak) {
  run_in_jobs([](Transport& transport) {
    for (const Sizes& s : kSizes) {
      const auto rows = cut_rows(shuffled_tokens(s.tokens, 8), transport, 8);
      const auto num_rows = static_cast<std::int64_t>(rows.size());
      std::vector<std::int64_t> shard = expected_shard(s, rows);
      const auto meter = std::make_shared<MemoryMeter>();

      const Redistribution redistribution(transport, s.tokens, rows, meter);
      const std::int64_t setup_peak = meter->peak_bytes();
      std::vector<std::int64_t> slab(static_cast<std::size_t>(redistribution.slab().size() * s.batch * s.heads * s.columns));
      redistribution.to_slab(shard_view<std::byte>(shard, s, num_rows), std::as_writable_bytes(std::span(slab)));

      const std::int64_t num_slab = redistribution.slab().size();
      const std::int64_t kept = Redistribution::kept_bytes(num_rows, num_slab, transport.num_ranks());
      const std::int64_t setup = Redistribution::setup_bytes(num_rows, num_slab, transport.num_ranks());
      const std::int64_t staging = Redistribution::staging_bytes(uncut_slabs(s.tokens, transport.num_ranks()), s.batch, s.heads, s.columns * 8);
      EXPECT_EQ(meter->current_bytes(), kept);
      EXPECT_EQ(setup_peak, kept + setup);
      EXPECT_EQ(meter->peak_bytes(), kept + std::max(setup, staging));
    }
  });
}

}  // namespace
}  // namespace hilbertring

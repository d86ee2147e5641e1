// Linked with loopback_jobs.cpp and with mpi_jobs.cpp. Entries are their own global index and are compared exactly.
#include "ring/tensor_mover.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/ring/deferring_device.h"
#include "tests/ring/jobs.h"
#include "tests/ring/whole_tensors.h"

namespace hilbertring {
namespace {

using testing::cut_rows;
using testing::DeferringDevice;
using testing::expected_shard;
using testing::expected_slab;
using testing::kSizes;
using testing::run_in_jobs;
using testing::shard_view;
using testing::shuffled_tokens;
using testing::Sizes;

constexpr std::int64_t kWholeSlabs = std::int64_t{1} << 40;

/// One token, a few, or all of them at a time.
std::vector<std::int64_t> piece_sizes(const Sizes& s) { return {1, 7 * s.token_bytes() + 5, kWholeSlabs}; }

std::span<std::byte> bytes_of(std::vector<std::int64_t>& entries) { return std::as_writable_bytes(std::span(entries)); }

/// A rank's slab and its rows in any order, in place and about to be moved.
struct RankTensors {
  RankTensors(Transport& transport, const Sizes& s, SlabLayout slab_layout, const std::vector<std::int64_t>& rows)
      : sizes(s),
        layout(slab_layout),
        slab(expected_slab(s, sequence_slab(s.tokens, transport.num_ranks(), transport.rank()), layout)),
        shard(expected_shard(s, rows)),
        moved_slab(slab.size(), -1),
        moved_shard(shard.size(), -1),
        num_rows(static_cast<std::int64_t>(rows.size())) {}

  Tensor shard_at(std::vector<std::int64_t>& entries) const { return shard_view<std::byte>(entries, sizes, num_rows); }

  PieceReader reader() {
    return [this](Range<SequenceIndex> tokens, std::span<std::byte> piece) {
      const std::vector<std::int64_t> rows = expected_slab(sizes, tokens, layout);
      ASSERT_EQ(piece.size(), rows.size() * 8);
      if (!piece.empty()) std::memcpy(piece.data(), rows.data(), piece.size());
    };
  }
  /// Tokens that were handed over, in this order, as they should be.
  PieceWriter checking_writer(std::vector<std::int64_t>& tokens_seen) const {
    return [this, &tokens_seen](Range<SequenceIndex> tokens, std::span<const std::byte> piece) {
      const std::vector<std::int64_t> rows = expected_slab(sizes, tokens, layout);
      ASSERT_EQ(piece.size(), rows.size() * 8);
      EXPECT_TRUE(piece.empty() || std::memcmp(piece.data(), rows.data(), piece.size()) == 0) << "from token " << tokens.begin.value;
      for (SequenceIndex t = tokens.begin; t < tokens.end; ++t) tokens_seen.push_back(t.value);
    };
  }

  Sizes sizes;
  SlabLayout layout;
  std::vector<std::int64_t> slab, shard, moved_slab, moved_shard;
  std::int64_t num_rows;
};

std::vector<std::int64_t> all_tokens(Range<SequenceIndex> slab) {
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(slab.size()));
  std::iota(tokens.begin(), tokens.end(), slab.begin.value);
  return tokens;
}

/// Calls `test` for tensors of all sizes in both layouts, in pieces of all sizes, on the host and on a device that puts its work off.
using MoverTest = std::function<void(const Redistribution&, const TensorMover&, RankTensors&)>;
void for_each_mover(const MoverTest& test) {
  run_in_jobs([&](Transport& transport) {
    for (const Sizes& s : kSizes) {
      const std::vector<std::int64_t> rows = cut_rows(shuffled_tokens(s.tokens, 8), transport, 8);
      const Redistribution redistribution(transport, s.tokens, rows);
      for (const SlabLayout layout : {SlabLayout::kTokenMajor, SlabLayout::kHeadMajor}) {
        for (const std::int64_t piece_bytes : piece_sizes(s)) {
          const std::unique_ptr<ComputeDevice> host = make_cpu_device(1);
          DeferringDevice deferring;
          for (ComputeDevice* device : {host.get(), static_cast<ComputeDevice*>(&deferring)}) {
            SCOPED_TRACE("N " + std::to_string(s.tokens) + ", pieces of " + std::to_string(piece_bytes) + " bytes, " + device->description());
            RankTensors tensors(transport, s, layout, rows);
            test(redistribution, TensorMover(redistribution, *device, layout, piece_bytes, 2, nullptr), tensors);
          }
        }
      }
    }
  });
}

TEST(TensorMover, PiecesOfAnySizeGiveTheSameShard) {
  for_each_mover([](const Redistribution&, const TensorMover& mover, RankTensors& tensors) {
    mover.load_in_pieces(tensors.reader(), tensors.shard_at(tensors.moved_shard));

    EXPECT_TRUE(tensors.moved_shard == tensors.shard);
  });
}

TEST(TensorMover, PiecesOfAnySizeHandOutEveryTokenOnceInOrder) {
  for_each_mover([](const Redistribution& redistribution, const TensorMover& mover, RankTensors& tensors) {
    std::vector<std::int64_t> tokens_seen;

    mover.store_in_pieces(tensors.shard_at(tensors.shard), tensors.checking_writer(tokens_seen));

    EXPECT_EQ(tokens_seen, all_tokens(redistribution.slab()));
  });
}

TEST(TensorMover, WholeSlabsArriveExactlyBothWays) {
  for_each_mover([](const Redistribution&, const TensorMover& mover, RankTensors& tensors) {
    mover.load(std::as_bytes(std::span(tensors.slab)), tensors.shard_at(tensors.moved_shard));
    mover.store(tensors.shard_at(tensors.shard), bytes_of(tensors.moved_slab));

    EXPECT_TRUE(tensors.moved_shard == tensors.shard);
    EXPECT_TRUE(tensors.moved_slab == tensors.slab);
  });
}

/// A tensor of several pieces on each rank, all of whose rows stay there.
struct OwnRows {
  static constexpr Sizes kTensor{96, 2, 2, 4};
  static constexpr std::int64_t kPieceBytes = 4 * kTensor.token_bytes();  // four tokens

  explicit OwnRows(Transport& transport)
      : rows(all_tokens(sequence_slab(kTensor.tokens, transport.num_ranks(), transport.rank()))),
        redistribution(transport, kTensor.tokens, rows),
        tensors(transport, kTensor, SlabLayout::kTokenMajor, rows) {}

  std::vector<std::int64_t> rows;
  Redistribution redistribution;
  RankTensors tensors;
  DeferringDevice device;
  TensorMover mover{redistribution, device, SlabLayout::kTokenMajor, kPieceBytes, 1, nullptr};
};

TEST(TensorMover, NextPieceIsReadWhileTheDeviceCopiesTheLast) {
  run_in_jobs([](Transport& transport) {
    OwnRows own(transport);
    std::vector<std::size_t> num_waiting;

    own.mover.load_in_pieces(
        [&](Range<SequenceIndex> tokens, std::span<std::byte> piece) {
          num_waiting.push_back(own.device.num_waiting());
          own.tensors.reader()(tokens, piece);
        },
        own.tensors.shard_at(own.tensors.moved_shard));

    // Of the piece before, but no more of the one before that, whose memory the reader is given.
    std::vector<std::size_t> expected(num_waiting.size(), 1);
    expected.front() = 0;
    EXPECT_GT(num_waiting.size(), 2U);
    EXPECT_EQ(num_waiting, expected);
  });
}

TEST(TensorMover, PieceIsWrittenWhileTheDeviceCopiesTheNext) {
  run_in_jobs([](Transport& transport) {
    OwnRows own(transport);
    std::vector<std::size_t> num_waiting;

    own.mover.store_in_pieces(own.tensors.shard_at(own.tensors.shard),
                              [&](Range<SequenceIndex>, std::span<const std::byte>) { num_waiting.push_back(own.device.num_waiting()); });

    std::vector<std::size_t> expected(num_waiting.size(), 1);
    expected.back() = 0;
    EXPECT_GT(num_waiting.size(), 2U);
    EXPECT_EQ(num_waiting, expected);
  });
}

TEST(TensorMover, ReaderThatFailsEndsTheLoadOnAllRanks) {
  run_in_jobs([](Transport& transport) {
    for (const std::int64_t failing_piece : {0, 1, 2}) {
      OwnRows own(transport);
      std::int64_t piece_index = 0;

      EXPECT_THROW(own.mover.load_in_pieces(
                       [&](Range<SequenceIndex> tokens, std::span<std::byte> piece) {
                         if (piece_index++ == failing_piece) throw input_error("no number");
                         own.tensors.reader()(tokens, piece);
                       },
                       own.tensors.shard_at(own.tensors.moved_shard)),
                   Error);
      EXPECT_EQ(own.device.num_waiting(), 0U);
    }
  });
}

TEST(TensorMover, SlabOfAnotherSizeIsRefused) {
  run_in_jobs([](Transport& transport) {
    OwnRows own(transport);
    std::vector<std::int64_t> longer = own.tensors.slab;
    longer.push_back(0);

    EXPECT_THROW(own.mover.load(std::as_bytes(std::span(longer)), own.tensors.shard_at(own.tensors.moved_shard)), Error);
    EXPECT_THROW(own.mover.store(own.tensors.shard_at(own.tensors.shard), bytes_of(longer)), Error);
  });
}

TEST(TensorMover, PredictedMemoryOfStagingEqualsPeak) {
  run_in_jobs([](Transport& transport) {
    for (const Sizes& s : kSizes) {
      for (const std::int64_t piece_bytes : piece_sizes(s)) {
        const std::vector<std::int64_t> rows = cut_rows(shuffled_tokens(s.tokens, 8), transport, 8);
        const auto meter = std::make_shared<MemoryMeter>();
        RankTensors tensors(transport, s, SlabLayout::kTokenMajor, rows);
        const Redistribution redistribution(transport, s.tokens, rows, meter);
        const std::int64_t kept = meter->current_bytes(), setup_peak = meter->peak_bytes();
        DeferringDevice device;
        const SlabCut cut = cut_slabs(s.tokens, transport.num_ranks(), s.token_bytes(), piece_bytes);

        TensorMover(redistribution, device, SlabLayout::kTokenMajor, piece_bytes, 1, meter)
            .load_in_pieces(tensors.reader(), tensors.shard_at(tensors.moved_shard));

        EXPECT_EQ(meter->current_bytes(), kept);
        EXPECT_EQ(meter->peak_bytes(), std::max(setup_peak, kept + Staging::size_bytes(cut, s.batch, s.heads, s.row_bytes())));
      }
    }
  });
}

}  // namespace
}  // namespace hilbertring

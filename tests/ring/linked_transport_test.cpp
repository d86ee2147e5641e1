// Links between GPUs, one of each MPI rank.
#include "ring/linked_transport.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include "core/error.h"
#include "ring/backend.h"
#include "ring/mpi_transport.h"
#include "tests/ring/backend_under_test.h"
#include "tests/ring/loopback_comparison.h"

namespace hilbertring {
namespace {

/// This rank's GPU and its link.
class LinkedTransportTest : public ::testing::TestWithParam<LinkKind> {
 protected:
  void SetUp() override {
    host_ = make_mpi_transport(MPI_COMM_WORLD);
    if (num_usable_gpus() < host_->num_ranks()) GTEST_SKIP() << host_->num_ranks() << " GPUs are needed, here are " << num_usable_gpus();
    if (GetParam() == LinkKind::kNccl && !has_nccl_build()) GTEST_SKIP() << "built without NCCL";
    connect(kLinkPatience);
  }
  void connect(std::chrono::seconds patience) {
    const int gpu = static_cast<int>(host_->rank().value);
    linked_ = make_linked_transport(*host_, gpu, GetParam(), patience);
    device_ = make_device(Backend::kCuda, gpu, 1, nullptr);
    link_ = linked_->link(*device_);
  }
  void TearDown() override {
    if (link_) link_->let_go();  // of what the test's buffers were
    link_.reset();
    device_.reset();
    linked_.reset();
  }

  Rank rank(std::int64_t distance) const { return Rank((host_->rank().value + distance + host_->num_ranks()) % host_->num_ranks()); }

  /// Device memory full of one number.
  Buffer filled(std::int64_t value, std::int64_t count) const {
    Buffer on_device = device_->allocate(count * 8, nullptr);
    const Buffer on_host = device_->allocate_shared(count * 8, nullptr);
    std::fill_n(reinterpret_cast<std::int64_t*>(on_host.data()), count, value);
    device_->copy_in(on_device.data(), on_host.data(), count * 8);
    device_->wait();
    return on_device;
  }
  std::vector<std::int64_t> entries(const Buffer& on_device) const {
    device_->wait();
    const Buffer on_host = device_->allocate_shared(on_device.size_bytes(), nullptr);
    device_->copy_out(on_host.data(), on_device.data(), on_device.size_bytes());
    device_->wait();
    std::vector<std::int64_t> values(static_cast<std::size_t>(on_device.size_bytes() / 8));
    std::memcpy(values.data(), on_host.data(), values.size() * 8);
    return values;
  }

  /// A group: `out` goes to the next rank, `in` comes from the one before.
  void pass_on(const Buffer& out, const Buffer& in) const {
    link_->begin();
    link_->send(out.bytes(), rank(1), 0);
    link_->receive(in.bytes(), rank(-1), 0);
    link_->end();
  }
  /// What `exchange` starts on this rank alone is never answered; it must be told.
  void expect_silence(Rank alone, const std::function<void()>& exchange) const {
    std::optional<Error> error;
    if (host_->rank() == alone) {
      error = error_of([&] {
        exchange();
        device_->wait();
        link_->check();
      });
    }
    host_->barrier();
    if (host_->rank() != alone) return;
    ASSERT_TRUE(error.has_value());
    EXPECT_STREQ(error->what(), "GPU link: no message has come from another GPU for 2 s: a rank hangs or is gone");
  }

  std::unique_ptr<Transport> host_, linked_;
  std::unique_ptr<ComputeDevice> device_;
  std::unique_ptr<DeviceLink> link_;
};

TEST_P(LinkedTransportTest, MessagesOfAGroupAreMatchedByTag) {
  if (host_->num_ranks() == 1) GTEST_SKIP() << "needs a peer";
  constexpr std::int64_t kCount = 100'000;
  const std::int64_t me = host_->rank().value;
  const Buffer low = filled(10 * me + 1, kCount), high = filled(10 * me + 2, kCount);
  const Buffer low_in = filled(-1, kCount), high_in = filled(-1, kCount);

  link_->begin();
  link_->receive(high_in.bytes(), rank(-1), 9);
  link_->send(low.bytes(), rank(1), 3);
  link_->receive(low_in.bytes(), rank(-1), 3);
  link_->send(high.bytes(), rank(1), 9);
  link_->end();

  EXPECT_EQ(entries(low_in), std::vector<std::int64_t>(kCount, 10 * rank(-1).value + 1));
  EXPECT_EQ(entries(high_in), std::vector<std::int64_t>(kCount, 10 * rank(-1).value + 2));
  EXPECT_EQ(linked_->sent_bytes() - host_->sent_bytes(), 2 * kCount * 8);
}

TEST_P(LinkedTransportTest, WorkOnTheTransferQueueKeepsItsOrderWithMessages) {
  if (host_->num_ranks() == 1) GTEST_SKIP() << "needs a peer";
  constexpr std::int64_t kCount = 1'000'000;
  const Buffer travelling = filled(host_->rank().value, kCount);

  // Each round sends on what the last one brought: without order some of it would be what was there before.
  const Buffer other = filled(-1, kCount);
  for (int round = 0; round < 10; ++round) {
    const Buffer& from = round % 2 == 0 ? travelling : other;
    const Buffer& to = round % 2 == 0 ? other : travelling;
    pass_on(from, to);
  }

  EXPECT_EQ(entries(travelling), std::vector<std::int64_t>(kCount, rank(-10 % host_->num_ranks()).value));
}

TEST_P(LinkedTransportTest, APeerThatDoesNotAnswerIsReportedAndNobodyHangs) {
  if (host_->num_ranks() == 1) GTEST_SKIP() << "needs a peer";
  TearDown();
  connect(std::chrono::seconds(2));
  const Buffer out = filled(1, 1000), in = filled(2, 1000);
  pass_on(out, in);
  device_->wait();

  expect_silence(Rank(0), [&] { pass_on(out, in); });
}

TEST_P(LinkedTransportTest, AMessageThatNeverComesIsReportedAndNobodyHangs) {
  if (host_->num_ranks() != 2) GTEST_SKIP() << "needs two ranks";
  TearDown();
  connect(std::chrono::seconds(2));
  const Buffer out = filled(1, 1000), in = filled(2, 1000);
  // First a message that does come: NCCL connects ranks with their first one, which fails otherwise.
  pass_on(out, in);
  device_->wait();

  // Rank 1 receives what rank 0 never sends: its stream waits.
  expect_silence(Rank(1), [&] {
    link_->begin();
    link_->receive(in.bytes(), Rank(0), 0);
    link_->end();
  });
}

TEST_P(LinkedTransportTest, PartsArriveInPlaceAndNothingElseChanges) {
  if (host_->num_ranks() == 1 || !link_->takes_parts(rank(1))) GTEST_SKIP() << "needs a peer whose memory can be mapped";
  constexpr std::int64_t kCount = 1'000'000, kFirst = 1000, kWidth = 300, kPitch = 5000, kRuns = 100, kLone = 900'000;
  const std::vector<ByteRuns> parts = {{.offset = 8 * kFirst, .width = 8 * kWidth, .pitch = 8 * kPitch, .count = kRuns},
                                       {.offset = 8 * kLone, .width = 8, .pitch = 0, .count = 1}};
  const Buffer out = filled(host_->rank().value, kCount), in = filled(-1, kCount);

  link_->begin();
  link_->receive(in.bytes(), rank(-1), 1);
  link_->send_parts(out.bytes(), parts, rank(1), 1);
  link_->end();

  std::vector<std::int64_t> expected(kCount, -1);
  for (std::int64_t run = 0; run < kRuns; ++run) std::fill_n(expected.begin() + kFirst + run * kPitch, kWidth, rank(-1).value);
  expected[kLone] = rank(-1).value;
  EXPECT_EQ(entries(in), expected);
  EXPECT_EQ(linked_->sent_bytes() - host_->sent_bytes(), 8 * (kWidth * kRuns + 1));
}

TEST_P(LinkedTransportTest, SmallAllocationsAreToldApart) {
  if (host_->num_ranks() == 1) GTEST_SKIP() << "needs a peer";
  constexpr int kMessages = 20;
  std::vector<Buffer> out, in;
  for (int i = 0; i < kMessages; ++i) {
    out.push_back(filled(100 * host_->rank().value + i, 3));
    in.push_back(filled(-1, 3));
  }

  link_->begin();
  for (int i = 0; i < kMessages; ++i) link_->send(out[static_cast<std::size_t>(i)].bytes(), rank(1), i);
  for (int i = kMessages - 1; i >= 0; --i) link_->receive(in[static_cast<std::size_t>(i)].bytes(), rank(-1), i);
  link_->end();

  for (int i = 0; i < kMessages; ++i) EXPECT_EQ(entries(in[static_cast<std::size_t>(i)]), std::vector<std::int64_t>(3, 100 * rank(-1).value + i));
}

TEST_P(LinkedTransportTest, MemoryMayComeAndGo) {
  if (host_->num_ranks() == 1) GTEST_SKIP() << "needs a peer";
  constexpr std::int64_t kCount = 500'000;
  for (std::int64_t round = 0; round < 5; ++round) {
    const Buffer out = filled(10 * host_->rank().value + round, kCount), in = filled(-1, kCount);
    pass_on(out, in);
    EXPECT_EQ(entries(in), std::vector<std::int64_t>(kCount, 10 * rank(-1).value + round));
    link_->let_go();
  }
}

TEST_P(LinkedTransportTest, RingAttentionHasTheBitsOfOneRank) { expect_same_bits_as_alone(*linked_); }

INSTANTIATE_TEST_SUITE_P(Links, LinkedTransportTest, ::testing::Values(LinkKind::kNccl, LinkKind::kCopyEngines),
                         [](const auto& links) { return links.param == LinkKind::kNccl ? "Nccl" : "CopyEngines"; });

}  // namespace
}  // namespace hilbertring

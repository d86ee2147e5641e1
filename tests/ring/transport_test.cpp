// Properties of every transport. Linked with loopback_jobs.cpp and with mpi_jobs.cpp.
#include "ring/transport.h"

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "ring/agreement.h"
#include "tests/ring/jobs.h"

namespace hilbertring {
namespace {

using testing::run_in_jobs;

/// Every entry of a message says where it comes from, where it goes, which message it is and where it stands in it.
std::vector<std::int64_t> message(std::int64_t from, std::int64_t to, std::int64_t number, std::int64_t length) {
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < length; ++i) values.push_back(((from * 100 + to) * 10'000 + number) * 1'000'000 + i);
  return values;
}

Rank next(const Transport& transport) { return Rank((transport.rank().value + 1) % transport.num_ranks()); }
Rank previous(const Transport& transport) { return Rank((transport.rank().value + transport.num_ranks() - 1) % transport.num_ranks()); }

TEST(Transport, EveryMessageArrivesWholeAtItsRank) {
  run_in_jobs([](Transport& transport) {
    const std::int64_t me = transport.rank().value;
    const std::vector<std::int64_t> lengths = {0, 1, 1000, 70'000};
    std::vector<std::vector<std::int64_t>> sent, received, expected;
    for (std::int64_t peer = 0; peer < transport.num_ranks(); ++peer) {
      for (std::size_t n = 0; n < lengths.size(); ++n) {
        sent.push_back(message(me, peer, static_cast<std::int64_t>(n), lengths[n]));
        expected.push_back(message(peer, me, static_cast<std::int64_t>(n), lengths[n]));
        received.emplace_back(static_cast<std::size_t>(lengths[n]), -1);
      }
    }

    std::vector<Transfer> transfers;
    for (std::size_t i = 0; i < sent.size(); ++i) {
      const Rank peer(static_cast<std::int64_t>(i / lengths.size()));
      transfers.push_back(transport.receive(std::as_writable_bytes(std::span(received[i])), peer, 7));
      transfers.push_back(transport.send(std::as_bytes(std::span(sent[i])), peer, 7));
    }
    for (const Transfer& transfer : transfers) transfer->wait();

    EXPECT_EQ(received, expected);
  });
}

TEST(Transport, MessagesOfOneTagArriveInTheOrderSent) {
  run_in_jobs([](Transport& transport) {
    constexpr std::int64_t kNumMessages = 3000;
    std::vector<std::int64_t> sent(kNumMessages), received(kNumMessages, -1);
    for (std::int64_t i = 0; i < kNumMessages; ++i) sent[static_cast<std::size_t>(i)] = i;

    std::vector<Transfer> transfers;
    for (std::size_t i = 0; i < sent.size(); ++i) {
      transfers.push_back(transport.send(std::as_bytes(std::span(&sent[i], 1)), next(transport), 3));
      transfers.push_back(transport.receive(std::as_writable_bytes(std::span(&received[i], 1)), previous(transport), 3));
    }
    for (const Transfer& transfer : transfers) transfer->wait();

    EXPECT_EQ(received, sent);
  });
}

TEST(Transport, TagsAreKeptApart) {
  run_in_jobs([](Transport& transport) {
    const std::array<std::int64_t, 2> sent = {11, 22};
    std::array<std::int64_t, 2> received = {-1, -1};

    const Transfer send_low = transport.send(std::as_bytes(std::span(&sent[0], 1)), next(transport), 0);
    const Transfer send_high = transport.send(std::as_bytes(std::span(&sent[1], 1)), next(transport), 4095);
    transport.receive(std::as_writable_bytes(std::span(&received[1], 1)), previous(transport), 4095)->wait();
    transport.receive(std::as_writable_bytes(std::span(&received[0], 1)), previous(transport), 0)->wait();
    send_low->wait();
    send_high->wait();

    EXPECT_EQ(received, sent);
  });
}

TEST(Transport, TransfersCompleteByProgressAlone) {
  run_in_jobs([](Transport& transport) {
    const std::vector<std::int64_t> sent = message(transport.rank().value, next(transport).value, 0, 500'000);
    std::vector<std::int64_t> received(sent.size(), -1);

    const Transfer receive = transport.receive(std::as_writable_bytes(std::span(received)), previous(transport), 1);
    const Transfer send = transport.send(std::as_bytes(std::span(sent)), next(transport), 1);
    while (!receive->is_complete() || !send->is_complete()) transport.progress();

    EXPECT_EQ(received, message(previous(transport).value, transport.rank().value, 0, 500'000));
  });
}

TEST(Transport, WaitingTwiceIsWaitingOnce) {
  run_in_jobs([](Transport& transport) {
    const std::int64_t sent = 5;
    std::int64_t received = 0;

    const Transfer receive = transport.receive(std::as_writable_bytes(std::span(&received, 1)), previous(transport), 1);
    const Transfer send = transport.send(std::as_bytes(std::span(&sent, 1)), next(transport), 1);
    for (int i = 0; i < 2; ++i) {
      send->wait();
      receive->wait();
    }

    EXPECT_TRUE(send->is_complete() && receive->is_complete());
    EXPECT_EQ(received, 5);
  });
}

TEST(Transport, SentBytesCountOnlyOtherRanks) {
  run_in_jobs([](Transport& transport) {
    const std::array<std::int64_t, 3> sent = {1, 2, 3};
    std::array<std::int64_t, 3> received{};

    for (std::int64_t peer = 0; peer < transport.num_ranks(); ++peer) {
      const Transfer receive = transport.receive(std::as_writable_bytes(std::span(received)), Rank(peer), 2);
      const Transfer send = transport.send(std::as_bytes(std::span(sent)), Rank(peer), 2);
      send->wait();
      receive->wait();
    }

    EXPECT_EQ(transport.sent_bytes(), 24 * (transport.num_ranks() - 1));
  });
}

TEST(Transport, ReductionsFoldEveryRank) {
  run_in_jobs([](Transport& transport) {
    const std::int64_t me = transport.rank().value, p = transport.num_ranks();
    std::array<std::int64_t, 2> sum = {me, 1}, min = {me - 5, -me}, max = {me - 5, -me};

    transport.all_reduce(sum, Reduction::kSum);
    transport.all_reduce(min, Reduction::kMin);
    transport.all_reduce(max, Reduction::kMax);

    EXPECT_EQ(sum, (std::array<std::int64_t, 2>{p * (p - 1) / 2, p}));
    EXPECT_EQ(min, (std::array<std::int64_t, 2>{-5, 1 - p}));
    EXPECT_EQ(max, (std::array<std::int64_t, 2>{p - 6, 0}));
  });
}

TEST(Transport, DoublesAreSummedInTheOrderOfRanks) {
  run_in_jobs([](Transport& transport) {
    const auto value_of = [](std::int64_t rank) { return rank == 0 ? 1e16 : rank % 2 == 0 ? 1.0 : -1e15 / 3; };
    double sum = value_of(transport.rank().value);
    double expected = value_of(0);
    for (std::int64_t r = 1; r < transport.num_ranks(); ++r) expected += value_of(r);

    transport.all_reduce(std::span(&sum, 1), Reduction::kSum);

    EXPECT_EQ(sum, expected);
  });
}

TEST(Transport, AllGatherKeepsTheOrderOfRanks) {
  run_in_jobs([](Transport& transport) {
    const auto text_of = [](std::int64_t rank) { return std::string(static_cast<std::size_t>(rank) * 1000, static_cast<char>('a' + rank)); };
    std::vector<std::string> expected;
    for (std::int64_t r = 0; r < transport.num_ranks(); ++r) expected.push_back(text_of(r));

    const auto texts = transport.all_gather(text_of(transport.rank().value));

    EXPECT_EQ(texts, expected);
  });
}

TEST(Agreement, PassesWhenEveryRankPasses) {
  run_in_jobs([](Transport& transport) {
    int num_calls = 0;

    agree(transport, [&] { ++num_calls; });

    EXPECT_EQ(num_calls, 1);
  });
}

/// The Error that `agree` throws on this rank.
Error agreed_error(Transport& transport, const std::function<void()>& step) {
  try {
    agree(transport, step);
  } catch (const Error& error) {
    return error;
  }
  return failure("agree threw nothing");
}

TEST(Agreement, EveryRankThrowsTheErrorOfTheLowestThatFailed) {
  run_in_jobs([](Transport& transport) {
    const std::int64_t lowest = transport.num_ranks() / 2;

    const Error error = agreed_error(transport, [&] {
      if (transport.rank().value >= lowest) throw Error(ErrorKind::kInput, "HDF5", "rank " + std::to_string(transport.rank().value) + ": can't read");
    });

    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_EQ(error.library(), "HDF5");
    EXPECT_EQ(error.what(), "HDF5: rank " + std::to_string(lowest) + ": can't read");
    EXPECT_EQ(error.rank(), lowest);
  });
}

TEST(Agreement, OtherExceptionsBecomeFailures) {
  run_in_jobs([](Transport& transport) {
    const bool is_last = transport.rank().value == transport.num_ranks() - 1;

    const Error memory = agreed_error(transport, [&] {
      if (is_last) throw std::bad_alloc();
    });
    const Error logic = agreed_error(transport, [&] {
      if (is_last) throw std::out_of_range("index 5 of 3");
    });

    EXPECT_EQ(memory.kind(), ErrorKind::kFailure);
    EXPECT_STREQ(memory.what(), "not enough memory");
    EXPECT_EQ(logic.kind(), ErrorKind::kFailure);
    EXPECT_STREQ(logic.what(), "index 5 of 3");
  });
}

}  // namespace
}  // namespace hilbertring

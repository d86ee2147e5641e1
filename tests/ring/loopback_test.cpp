#include "ring/loopback.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"

namespace hilbertring {
namespace {

std::string text_of_failure(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kFailure ? error.what() : "wrong kind";
  }
  return "nothing thrown";
}

/// Rank 1 of four throws while the others do `wait_for_it`: each must be told, and the caller gets rank 1's own exception.
void expect_woken(const std::function<void(Transport&)>& wait_for_it) {
  std::atomic<int> num_told = 0;
  const auto job = [&] {
    run_loopback(4, [&](Transport& transport) {
      if (transport.rank() == Rank(1)) throw std::out_of_range("lost");
      if (text_of_failure([&] { wait_for_it(transport); }) == "rank 1 failed: lost") ++num_told;
    });
  };

  EXPECT_THROW(job(), std::out_of_range);
  EXPECT_EQ(num_told, 3);
}

TEST(Loopback, ThrowingRankWakesReceivers) {
  expect_woken([](Transport& transport) {
    std::int64_t value = 0;
    transport.receive(std::as_writable_bytes(std::span(&value, 1)), Rank(1), 0)->wait();
  });
}

TEST(Loopback, ThrowingRankWakesSenders) {
  expect_woken([](Transport& transport) {
    const std::int64_t value = 0;
    transport.send(std::as_bytes(std::span(&value, 1)), Rank(1), 0)->wait();
  });
}

TEST(Loopback, ThrowingRankWakesCollectives) {
  expect_woken([](Transport& transport) { transport.barrier(); });
}

TEST(Loopback, ThrowingRankEndsPolling) {
  expect_woken([](Transport& transport) {
    std::int64_t value = 0;
    const Transfer transfer = transport.receive(std::as_writable_bytes(std::span(&value, 1)), Rank(1), 0);
    while (!transfer->is_complete()) transport.progress();
    transfer->wait();
  });
}

TEST(Loopback, MismatchedLengthsNameRanksTagAndLengths) {
  std::atomic<int> num_told = 0;

  run_loopback(3, [&](Transport& transport) {
    std::vector<std::byte> bytes(24);
    const std::string text = text_of_failure([&] {
      if (transport.rank() == Rank(0)) transport.send(bytes, Rank(2), 9)->wait();
      if (transport.rank() == Rank(2)) transport.receive(std::span(bytes).first(16), Rank(0), 9)->wait();
    });
    if (text == "message from rank 0 to rank 2, tag 9: 24 bytes were sent, 16 were to be received; lengths must match") ++num_told;
  });

  EXPECT_EQ(num_told, 2);
}

TEST(Loopback, SendIsNotCopiedBeforeItsReceive) {
  run_loopback(2, [](Transport& transport) {
    std::int64_t value = 1;
    if (transport.rank() == Rank(0)) {
      const Transfer send = transport.send(std::as_bytes(std::span(&value, 1)), Rank(1), 0);
      EXPECT_FALSE(send->is_complete());
      value = 2;
      transport.barrier();
      send->wait();
    } else {
      transport.barrier();
      transport.receive(std::as_writable_bytes(std::span(&value, 1)), Rank(0), 0)->wait();
      EXPECT_EQ(value, 2);
    }
  });
}

TEST(Loopback, DroppedReceiveIsWithdrawn) {
  run_loopback(2, [](Transport& transport) {
    const std::int64_t sent = 7;
    std::int64_t dropped = -1, received = -1;

    if (transport.rank() == Rank(0)) {
      transport.receive(std::as_writable_bytes(std::span(&dropped, 1)), Rank(1), 0).reset();
      const Transfer kept = transport.receive(std::as_writable_bytes(std::span(&received, 1)), Rank(1), 0);
      transport.barrier();
      kept->wait();
    } else {
      transport.barrier();
      transport.send(std::as_bytes(std::span(&sent, 1)), Rank(0), 0)->wait();
    }

    EXPECT_EQ(dropped, -1);
    EXPECT_EQ(received, transport.rank() == Rank(0) ? 7 : -1);
  });
}

TEST(Loopback, UnknownPeerIsRefused) {
  EXPECT_EQ(text_of_failure([] { run_loopback(2, [](Transport& transport) { transport.send({}, Rank(2), 0)->wait(); }); }),
            "rank 2 is not one of the 2 ranks");
}

TEST(Loopback, AtLeastOneRankIsNeeded) {
  EXPECT_THROW(run_loopback(0, [](Transport&) {}), Error);
}

}  // namespace
}  // namespace hilbertring

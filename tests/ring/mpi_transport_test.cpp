#include "ring/mpi_transport.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"

namespace hilbertring {
namespace {

std::string text_of_mpi_error(PendingTransfer& transfer) {
  try {
    transfer.wait();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kFailure && error.library() == "MPI" ? error.what() : "wrong kind";
  }
  return "nothing thrown";
}

TEST(MpiTransport, LongMessagesAreSplitAndJoined) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD, 1000);
  const Rank next((transport->rank().value + 1) % transport->num_ranks());
  const Rank previous((transport->rank().value + transport->num_ranks() - 1) % transport->num_ranks());

  for (const std::size_t num_values : {0, 124, 125, 126, 250, 100'000}) {
    std::vector<std::int64_t> sent(num_values), received(num_values, -1), expected(num_values);
    std::iota(sent.begin(), sent.end(), transport->rank().value * 1'000'000);
    std::iota(expected.begin(), expected.end(), previous.value * 1'000'000);
    const Transfer send = transport->send(std::as_bytes(std::span(sent)), next, 5);
    const Transfer receive = transport->receive(std::as_writable_bytes(std::span(received)), previous, 5);
    receive->wait();
    send->wait();

    EXPECT_EQ(received, expected);
  }
}

TEST(MpiTransport, ShorterMessageThanReceivedIsAnError) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD);
  const std::string me = std::to_string(transport->rank().value);
  std::vector<std::byte> sent(8), received(16);

  const Transfer receive = transport->receive(received, transport->rank(), 5);
  transport->send(sent, transport->rank(), 5)->wait();

  EXPECT_EQ(text_of_mpi_error(*receive),
            "MPI: message from rank " + me + " to rank " + me + ", tag 5: 8 bytes were sent, 16 were to be received; lengths must match");
}

TEST(MpiTransport, LongerMessageThanReceivedIsAnError) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD);
  if (transport->num_ranks() == 1) GTEST_SKIP() << "Open MPI truncates messages to oneself without a word";
  const Rank next((transport->rank().value + 1) % transport->num_ranks());
  const Rank previous((transport->rank().value + transport->num_ranks() - 1) % transport->num_ranks());
  std::vector<std::byte> sent(16), received(8);

  const Transfer receive = transport->receive(received, previous, 5);
  transport->send(sent, next, 5)->wait();

  EXPECT_EQ(text_of_mpi_error(*receive), "MPI: message from rank " + std::to_string(previous.value) + " to rank " +
                                             std::to_string(transport->rank().value) +
                                             ", tag 5: 16 bytes were sent, 8 were to be received; lengths must match");
}

TEST(MpiTransport, UnknownPeerIsRefused) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD);

  EXPECT_THROW(transport->send({}, Rank(transport->num_ranks()), 0)->wait(), Error);
}

TEST(MpiTransport, DroppedReceiveIsWithdrawn) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD);
  std::int64_t dropped = -1, received = -1;
  const std::int64_t sent = 7;

  transport->receive(std::as_writable_bytes(std::span(&dropped, 1)), transport->rank(), 0).reset();
  const Transfer kept = transport->receive(std::as_writable_bytes(std::span(&received, 1)), transport->rank(), 0);
  transport->send(std::as_bytes(std::span(&sent, 1)), transport->rank(), 0)->wait();
  kept->wait();

  EXPECT_EQ(dropped, -1);
  EXPECT_EQ(received, 7);
}

TEST(MpiTransport, MessageLimitMustFitAnMpiCount) {
  EXPECT_THROW(make_mpi_transport(MPI_COMM_WORLD, 0), Error);
  EXPECT_THROW(make_mpi_transport(MPI_COMM_WORLD, kMaxMpiMessageBytes + 1), Error);
}

}  // namespace
}  // namespace hilbertring

// Linked with loopback_jobs.cpp and with mpi_jobs.cpp.
#include "ring/host_board.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "tests/ring/jobs.h"

namespace hilbertring {
namespace {

using testing::run_in_jobs;

constexpr std::int64_t kBytesPerRank = 5000;

std::optional<HostBoard> make_board(Transport& transport) {
  return HostBoard::create(transport, [](std::int64_t num_ranks) { return num_ranks * kBytesPerRank; });
}

/// The part of the board that is a rank's own.
std::span<std::byte> part_of(const HostBoard& board, std::int64_t rank) {
  return board.bytes().subspan(static_cast<std::size_t>(rank * kBytesPerRank), kBytesPerRank);
}

bool all_are(std::span<const std::byte> bytes, std::int64_t value) {
  return std::ranges::all_of(bytes, [&](std::byte byte) { return byte == static_cast<std::byte>(value); });
}

TEST(HostBoard, WhatOneRankWritesAllOthersRead) {
  run_in_jobs([](Transport& transport) {
    const std::int64_t me = transport.rank().value;
    const std::optional<HostBoard> board = make_board(transport);
    // These jobs run on one host; a rank that is alone needs no board.
    ASSERT_EQ(board.has_value(), transport.num_ranks() > 1);
    if (!board) return;
    ASSERT_EQ(static_cast<std::int64_t>(board->ranks().size()), transport.num_ranks());
    EXPECT_TRUE(all_are(part_of(*board, me), 0));

    std::ranges::fill(part_of(*board, me), static_cast<std::byte>(me + 1));
    transport.barrier();

    for (std::int64_t rank = 0; rank < transport.num_ranks(); ++rank) EXPECT_TRUE(all_are(part_of(*board, rank), rank + 1));
    transport.barrier();
  });
}

TEST(HostBoard, LeavesNothingBehind) {
  const auto num_files = [] {
    const std::filesystem::directory_iterator files("/dev/shm");
    return std::ranges::count_if(files, [](const auto& file) { return file.path().filename().string().starts_with("hilbertring-"); });
  };
  run_in_jobs([&](Transport& transport) {
    const std::optional<HostBoard> board = make_board(transport);
    transport.barrier();

    // Other jobs' files may be there for a moment.
    for (int attempt = 0; attempt < 1000 && num_files() > 0; ++attempt) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(num_files(), 0);
    transport.barrier();
  });
}

}  // namespace
}  // namespace hilbertring

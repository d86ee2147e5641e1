#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ring/transport.h"

namespace hilbertring {

/// Memory that all ranks of one host see, zero at first. It has no name left once it is made, so nothing stays behind however the ranks end.
class HostBoard {
 public:
  /// Collective over the transport: a board for each host. `num_bytes_for(n)`: its size where n ranks are on it. None on all ranks of a host whose
  /// ranks can't share memory (of containers, say, each with a /dev/shm of its own), and where a rank is alone.
  static std::optional<HostBoard> create(Transport& transport, std::int64_t (*num_bytes_for)(std::int64_t num_ranks));
  HostBoard(HostBoard&& other) noexcept;
  HostBoard& operator=(HostBoard&& other) noexcept;
  ~HostBoard();

  std::span<std::byte> bytes() const { return bytes_; }
  /// The ranks that share it, ascending: this rank is one.
  const std::vector<Rank>& ranks() const { return ranks_; }

 private:
  HostBoard(std::span<std::byte> bytes, std::vector<Rank> ranks) : bytes_(bytes), ranks_(std::move(ranks)) {}

  std::span<std::byte> bytes_;
  std::vector<Rank> ranks_;
};

}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/compute_device.h"
#include "core/index.h"
#include "ring/device_link.h"

namespace hilbertring {

enum class Reduction { kSum, kMin, kMax };

/// A send or a receive under way. Movable; empty after wait(). Must not outlive its transport.
class PendingTransfer {
 public:
  virtual ~PendingTransfer() = default;
  virtual bool is_complete() = 0;  ///< never blocks
  virtual void wait() = 0;         ///< blocks; throws Error(kFailure) if the transfer or a peer failed
};
using Transfer = std::unique_ptr<PendingTransfer>;

/// How ranks of one job talk. Point-to-point messages of any length (beyond 2^31 bytes they are split inside); between two ranks, messages of one tag
/// arrive in the order sent, and lengths must match. One thread per rank calls it.
class Transport {
 public:
  virtual ~Transport() = default;

  virtual std::string name() const = 0;  ///< "loopback", "mpi", "nccl"
  virtual Rank rank() const = 0;
  virtual std::int64_t num_ranks() const = 0;

  /// The bytes must stay as they are (send) or untouched (receive) until the transfer is complete. tag: 0 .. 4095. Neither call blocks.
  virtual Transfer send(std::span<const std::byte> bytes, Rank to, int tag) = 0;
  virtual Transfer receive(std::span<std::byte> bytes, Rank from, int tag) = 0;
  /// Lets transfers go on while the rank computes; cheap, never blocks.
  virtual void progress() = 0;

  /// Whether messages between devices need not pass through the host's memory.
  virtual bool links_devices() const { return false; }
  /// This rank's end of the links, for its device; null unless links_devices(). One at a time.
  virtual std::unique_ptr<DeviceLink> link(ComputeDevice& /*device*/) { return nullptr; }

  // Collectives: all ranks call them in the same order.
  virtual void barrier() = 0;
  virtual void all_reduce(std::span<std::int64_t> values, Reduction reduction) = 0;
  virtual void all_reduce(std::span<double> values, Reduction reduction) = 0;
  /// Every rank's text, in the order of ranks.
  virtual std::vector<std::string> all_gather(const std::string& text) = 0;

  /// Bytes handed to send(), its own and its links', for other ranks so far (messages to oneself don't count).
  virtual std::int64_t sent_bytes() const = 0;
};

}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <span>

#include "core/index.h"
#include "ring/byte_runs.h"

namespace hilbertring {

/// Messages straight from the memory of one rank's device to that of another's. They go through the device's transfer queue, in the order handed in:
/// work that the queue is given later finds them there, and the host waits for none of it. Lives no longer than its transport and its device.
class DeviceLink {
 public:
  virtual ~DeviceLink() = default;

  /// Messages between begin() and end() travel together, in any order. All ranks make the same groups in the same order (a rank without a message
  /// in a group may leave it out); in a group, messages between two ranks are matched by tag, those of one tag in the order handed in.
  virtual void begin() = 0;
  virtual void send(std::span<const std::byte> bytes, Rank to, int tag) = 0;
  virtual void receive(std::span<std::byte> bytes, Rank from, int tag) = 0;
  /// Whether messages to and from this rank may be parts of memory that is laid out alike at both ends. Both say the same of each other.
  virtual bool takes_parts(Rank peer) const = 0;
  /// Of `memory` only `parts` travel, to the same places of the memory that the peer calls receive() with, of which nothing else
  /// changes. Precondition: takes_parts(to).
  virtual void send_parts(std::span<const std::byte> memory, std::span<const ByteRuns> parts, Rank to, int tag) = 0;
  /// Blocks while connections to new peers are made; not for the messages. Throws Error(kFailure) as check() does.
  virtual void end() = 0;
  /// Throws Error(kFailure) if messages were lost: a peer failed, or none of them has moved for longer than the transport allows. Never blocks.
  /// After a loss nothing on the device waits for messages any more, and what it computes is worthless.
  virtual void check() = 0;
  /// Before memory that messages have touched is given back: blocks until no rank holds on to it any more. Collective; nothing may be under way.
  virtual void let_go() = 0;
};

}  // namespace hilbertring

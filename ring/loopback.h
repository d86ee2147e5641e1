#pragma once

#include <cstdint>
#include <functional>

#include "ring/transport.h"

namespace hilbertring {

/// Runs `body` on `num_ranks` ranks inside this process, each a thread with its own Transport ("loopback"), and returns when all have ended.
///
/// A message is one memcpy from the sender's bytes into the receiver's, made by whichever of the two comes second; until then the send waits, so
/// nothing is buffered. A transfer that is dropped before it is complete is withdrawn. If a body throws, every rank that waits, or waits later, gets
/// Error(kFailure) "rank R failed: ...", and the first exception is rethrown from here with its own type. If lengths of a message differ, both sides'
/// wait() throws Error(kFailure) with ranks, tag and lengths. Throws usage_error if num_ranks < 1.
void run_loopback(std::int64_t num_ranks, const std::function<void(Transport&)>& body);

}  // namespace hilbertring

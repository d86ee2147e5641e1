#pragma once

#include <chrono>
#include <memory>

#include "ring/transport.h"

namespace hilbertring {

/// Whether this build has NCCL.
bool has_nccl_build();

/// How long a message between GPUs may take, from the moment that the one before it has arrived and while its rank computes: longer than any visit.
inline constexpr std::chrono::seconds kNcclPatience = std::chrono::minutes(30);

/// What moves messages between GPUs of one host that can map each other's memory. Between hosts it is always NCCL.
enum class HostLinks {
  kNccl,        ///< NCCL's kernels
  kCopyEngines  ///< the GPUs' copy engines, which leave the multiprocessors to attention (ring/peer_copies.h)
};

/// A transport whose ranks' GPUs are linked by NCCL, those of a host as `host_links` says; everything else (host memory, collectives) goes through
/// `host`, which must outlive it. Collective over `host`. `gpu`: this rank's, of those that the process sees, and no other rank's. Makes that GPU the
/// calling thread's.
///
/// A thread of its own looks after all messages under way: when a peer fails, or nothing has moved for `patience`, it aborts the communicator, so
/// that neither a kernel nor the host waits any longer, and the next call of a link throws. Throws Error(kFailure, "NCCL") on every rank if the ranks
/// can't be joined within a minute, or if this build has no NCCL.
std::unique_ptr<Transport> make_nccl_transport(Transport& host, int gpu, HostLinks host_links, std::chrono::seconds patience = kNcclPatience);

}  // namespace hilbertring

#pragma once

#include <chrono>
#include <memory>

#include "ring/transport.h"

namespace hilbertring {

/// Whether this build has NCCL.
bool has_nccl_build();

/// How long a message between GPUs may take, from the moment that the one before it has arrived and while its rank computes: longer than any visit.
inline constexpr std::chrono::seconds kLinkPatience = std::chrono::minutes(30);

/// What moves messages between the GPUs of ranks.
enum class LinkKind {
  kNccl,        ///< NCCL's kernels
  kCopyEngines  ///< between GPUs that can map each other's memory, on one host, their copy engines (ring/peer_copies.h); between others NCCL
};

/// A transport whose ranks' GPUs are linked; everything else (host memory, collectives) goes through `host`, which must outlive it.
/// Collective over `host`. `gpu`: this rank's, of those that the process sees, and no other rank's. Makes that GPU the calling thread's.
///
/// A thread of its own looks after all messages under way: when a peer fails, or nothing has moved for `patience`, neither a stream nor the host
/// waits any longer, and the next call of a link throws. Throws Error(kFailure) on every rank if the ranks can't be joined within a minute, or if
/// NCCL is needed and this build has none.
std::unique_ptr<Transport> make_linked_transport(Transport& host, int gpu, LinkKind kind, std::chrono::seconds patience = kLinkPatience);

}  // namespace hilbertring

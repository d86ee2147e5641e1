#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "drivers/backend_choice.h"
#include "drivers/job.h"
#include "drivers/options.h"
#include "ring/attention.h"
#include "ring/transport.h"

namespace hilbertring {

/// How the ranks of a command talk.
enum class TransportKind {
  kLoopback,  ///< virtual ranks of one process
  kMpi,       ///< the job's MPI ranks, through the host's memory
  kNccl,      ///< those, with their GPUs linked by NCCL
  kPeer       ///< likewise, but GPUs of one host by their copy engines
};
std::string to_string(TransportKind kind);

/// Where the ranks of a command are, what they compute on and how they talk.
struct RankLayout {
  TransportKind transport = TransportKind::kLoopback;
  std::int64_t num_ranks = 1;
  std::int64_t ranks_on_node = 1;  ///< of them on this node
  int num_threads = 1;             ///< per rank
  BackendChoice backend;
  std::chrono::seconds peer_timeout{};  ///< of messages between GPUs
  std::int64_t memory_limit_bytes = 0;  ///< of a rank, on the host
  bool is_memory_limit_given = false;   ///< else it is a rank's share of what its node has

  /// "--memory-limit allows 1.00 GiB", "the node has for each 1.00 GiB"
  std::string memory_limit_text() const;

  /// Ranks in this process; 0 if each MPI rank is one.
  std::int64_t virtual_ranks() const { return transport == TransportKind::kLoopback ? num_ranks : 0; }
  bool links_gpus() const { return transport == TransportKind::kNccl || transport == TransportKind::kPeer; }
  MessagePath path() const { return message_path(backend.backend, links_gpus()); }
};

/// --ranks, --transport, --threads, --memory-limit, --peer-timeout, --backend, --share-gpus.
OptionGroup layout_options();
/// From those. Collective over the job. Throws usage_error for unknown names, for numbers that do not fit, for loopback on several MPI ranks and for
/// nccl or peer without GPUs; Error(kFailure) for cuda where a rank would have no GPU of its own, and for nccl in a build without it.
RankLayout choose_layout(const Job& job, const Arguments& arguments);

/// The transport of an MPI rank.
class JobTransport {
 public:
  /// Collective. The layout's transport is not loopback. `communicator`: of all ranks of the job, or of some that this one is among.
  JobTransport(const Job& job, const RankLayout& layout, MPI_Comm communicator);
  JobTransport(const Job& job, const RankLayout& layout) : JobTransport(job, layout, job.communicator()) {}
  Transport& get() const { return linked_ ? *linked_ : *host_; }

 private:
  std::unique_ptr<Transport> host_, linked_;
};

}  // namespace hilbertring

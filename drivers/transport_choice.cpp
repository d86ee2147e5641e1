#include "drivers/transport_choice.h"

#include <cstdlib>
#include <utility>

#include "core/error.h"
#include "drivers/machine.h"
#include "drivers/units.h"
#include "ring/linked_transport.h"
#include "ring/mpi_transport.h"

namespace hilbertring {

namespace {

/// As far as it is known before it is known what computes.
TransportKind transport_kind(const Job& job, const std::string& name) {
  if (name == "mpi") return TransportKind::kMpi;
  if (name == "nccl") return TransportKind::kNccl;
  if (name == "peer") return TransportKind::kPeer;
  if (name == "auto") return job.num_ranks() > 1 ? TransportKind::kMpi : TransportKind::kLoopback;
  if (name != "loopback") throw usage_error("--transport is '" + name + "', but must be one of auto, loopback, mpi, nccl, peer");
  if (job.num_ranks() > 1) {
    throw usage_error("--transport is 'loopback', but the program was started on " + std::to_string(job.num_ranks()) +
                      " MPI ranks; loopback runs in one process");
  }
  return TransportKind::kLoopback;
}

std::int64_t number_of_ranks(const Job& job, const Arguments& arguments, TransportKind kind) {
  if (kind == TransportKind::kLoopback) return arguments.integer_or("ranks", 1, 1);
  const std::int64_t num_ranks = arguments.integer_or("ranks", job.num_ranks(), 1);
  if (num_ranks != job.num_ranks()) {
    throw usage_error("--ranks is " + std::to_string(num_ranks) + ", but the program was started on " + format_plural(job.num_ranks(), "MPI rank") +
                      "; with transport " + to_string(kind) + " both must be equal");
  }
  return num_ranks;
}

/// A share of what the node has for each of its ranks, unless --threads says otherwise.
int number_of_threads(const Arguments& arguments, std::int64_t ranks_on_node) {
  constexpr std::int64_t kMaxThreads = 4096;
  const std::int64_t share = default_num_threads(static_cast<int>(ranks_on_node));
  const std::int64_t num_threads = arguments.integer_or("threads", share, 1);
  if (num_threads > kMaxThreads)
    throw usage_error("--threads is " + std::to_string(num_threads) + ", but must be at most " + std::to_string(kMaxThreads));
  return static_cast<int>(num_threads);
}

/// Links are between GPUs, one of each rank.
void require_linkable(TransportKind kind, const BackendChoice& backend) {
  const std::string given = "--transport is '" + to_string(kind) + "', ";
  if (kind == TransportKind::kNccl && !has_nccl_build()) {
    throw failure(given + "but this program was built without NCCL: build it where nccl.h is found, or use --transport peer or mpi");
  }
  if (backend.backend != Backend::kCuda) throw usage_error(given + "which links GPUs, but the ranks compute on the CPU");
  if (backend.ranks_per_gpu > 1) throw usage_error(given + "which needs a GPU for each rank, but " + backend.sharing_text());
}

bool can_be_linked(const Job& job, const BackendChoice& backend) {
  const bool is_on_one_node = job.ranks_on_node() == job.num_ranks();
  return (has_nccl_build() || is_on_one_node) && backend.backend == Backend::kCuda && backend.ranks_per_gpu == 1;
}

}  // namespace

std::string RankLayout::memory_limit_text() const {
  return (is_memory_limit_given ? "--memory-limit allows " : "the node has for each ") + format_bytes(memory_limit_bytes);
}

std::string to_string(TransportKind kind) {
  switch (kind) {
    case TransportKind::kMpi: return "mpi";
    case TransportKind::kNccl: return "nccl";
    case TransportKind::kPeer: return "peer";
    case TransportKind::kLoopback: break;
  }
  return "loopback";
}

OptionGroup layout_options() {
  OptionGroup group{"Where it runs",
                    {{"ranks", "P", "virtual ranks in this process (loopback); else 1"},
                     {"transport", "NAME",
                      "auto, loopback, mpi, nccl or peer (NCCL between hosts, the GPUs' copy engines within one); auto: loopback unless started on "
                      "several MPI ranks, then peer if each has a GPU, else mpi"},
                     {"threads", "T", "per rank; else OMP_NUM_THREADS, or the node's processors shared among its ranks"},
                     {"memory-limit", "BYTES", "per rank, such as 8GiB; else what the node has available, shared among its ranks"},
                     {"peer-timeout", "SECONDS", "give up when no message has come from another GPU for so long (nccl, peer); else 1800"}}};
  const OptionGroup backend = backend_options();
  group.entries.insert(group.entries.end(), backend.entries.begin(), backend.entries.end());
  return group;
}

RankLayout choose_layout(const Job& job, const Arguments& arguments) {
  const std::string name = arguments.text("transport").value_or("auto");
  RankLayout layout;
  layout.transport = transport_kind(job, name);
  layout.num_ranks = number_of_ranks(job, arguments, layout.transport);
  layout.ranks_on_node = layout.transport == TransportKind::kLoopback ? layout.num_ranks : job.ranks_on_node();
  layout.num_threads = number_of_threads(arguments, layout.ranks_on_node);
  layout.backend = choose_backend(job, arguments, layout.virtual_ranks());
  layout.peer_timeout = std::chrono::seconds(arguments.integer_or("peer-timeout", kLinkPatience.count(), 1));
  const auto limit = arguments.text("memory-limit");
  layout.is_memory_limit_given = limit.has_value();
  layout.memory_limit_bytes = limit ? parse_bytes("memory-limit", *limit) : job.min(available_memory_bytes() / layout.ranks_on_node);
  if (layout.links_gpus()) require_linkable(layout.transport, layout.backend);
  if (name == "auto" && layout.transport == TransportKind::kMpi && can_be_linked(job, layout.backend)) layout.transport = TransportKind::kPeer;
  return layout;
}

JobTransport::JobTransport(const Job& job, const RankLayout& layout, MPI_Comm communicator) : host_(make_mpi_transport(communicator)) {
  if (!layout.links_gpus()) return;
  // NVLink multicast serves collectives, of which there are none, and can put shared hosts out of order.
  ::setenv("NCCL_NVLS_ENABLE", "0", 1);
  const LinkKind kind = layout.transport == TransportKind::kPeer ? LinkKind::kCopyEngines : LinkKind::kNccl;
  linked_ = make_linked_transport(*host_, layout.backend.gpu_of(job.rank_on_node()), kind, layout.peer_timeout);
}

}  // namespace hilbertring

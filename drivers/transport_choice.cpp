#include "drivers/transport_choice.h"

#include "core/error.h"
#include "drivers/machine.h"
#include "drivers/units.h"

namespace hilbertring {

std::string to_string(TransportKind kind) { return kind == TransportKind::kMpi ? "mpi" : "loopback"; }

TransportKind transport_kind(const Job& job, const Arguments& arguments) {
  const std::string name = arguments.text("transport").value_or("auto");
  if (name == "mpi") return TransportKind::kMpi;
  if (name == "auto") return job.num_ranks() > 1 ? TransportKind::kMpi : TransportKind::kLoopback;
  if (name != "loopback") throw usage_error("--transport is '" + name + "', but must be one of auto, loopback, mpi");
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
                      "; with transport mpi both must be equal");
  }
  return num_ranks;
}

int number_of_threads(const Arguments& arguments, std::int64_t ranks_on_node) {
  constexpr std::int64_t kMaxThreads = 4096;
  const std::int64_t share = default_num_threads(static_cast<int>(ranks_on_node));
  const std::int64_t num_threads = arguments.integer_or("threads", share, 1);
  if (num_threads > kMaxThreads)
    throw usage_error("--threads is " + std::to_string(num_threads) + ", but must be at most " + std::to_string(kMaxThreads));
  return static_cast<int>(num_threads);
}

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <string>

#include "drivers/job.h"
#include "drivers/options.h"
#include "ring/backend.h"

namespace hilbertring {

/// What computes on this process's ranks.
struct BackendChoice {
  Backend backend = Backend::kCpu;
  int num_gpus = 0;                ///< Backend::kCuda: that this process sees
  std::int64_t ranks_per_gpu = 1;  ///< at most
  std::string note;                ///< why `auto` did not take a GPU that is there; else ""

  /// "2 ranks would share a GPU (this process sees 1 GPU)"
  std::string sharing_text() const;

  /// The GPU of a rank: `index` counts the ranks of the node, or the virtual ranks of the process.
  int gpu_of(std::int64_t index) const { return num_gpus > 0 ? static_cast<int>(index % num_gpus) : 0; }
};

/// --backend and --share-gpus.
OptionGroup backend_options();

/// What --backend says: auto (also if nothing), cpu or cuda. Throws usage_error for anything else.
std::string backend_name(const Arguments& arguments);

/// Collective over the job. `virtual_ranks`: ranks in this process (loopback), 0 if each MPI rank is one. A GPU is one rank's unless --share-gpus is
/// given. Throws usage_error for an unknown backend, Error(kFailure) for cuda where a rank would have no GPU of its own.
BackendChoice choose_backend(const Job& job, const Arguments& arguments, std::int64_t virtual_ranks);

/// Throws Error(kFailure) with both figures if a rank needs more than its share of what its GPU has free. Collective.
void require_gpu_memory(const Job& job, const BackendChoice& choice, std::int64_t virtual_ranks, std::int64_t needed_bytes);

}  // namespace hilbertring

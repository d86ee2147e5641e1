#include "drivers/backend_choice.h"

#include <algorithm>

#include "core/error.h"
#include "drivers/units.h"

namespace hilbertring {

namespace {

/// Where the ranks would compute if they took GPUs.
struct GpuShares {
  std::int64_t num_gpus = 0;       ///< fewest that a process sees
  std::int64_t ranks_per_gpu = 0;  ///< most ranks that would share one
};

/// Several processes may see the same GPU under different numbers, and different ones under the same: only identities tell.
GpuShares count_shares(const Job& job, std::int64_t virtual_ranks) {
  const std::int64_t num_gpus = num_usable_gpus();
  GpuShares shares{.num_gpus = job.min(num_gpus), .ranks_per_gpu = 0};
  if (shares.num_gpus == 0) return shares;
  if (virtual_ranks > 0) {
    shares.ranks_per_gpu = ceil_div(virtual_ranks, num_gpus);
    return shares;
  }
  const std::uint64_t mine = gpu_identity(static_cast<int>(job.rank_on_node() % num_gpus));
  shares.ranks_per_gpu = job.most_equal(mine);
  return shares;
}

BackendChoice cuda_choice(const GpuShares& shares) {
  return {.backend = Backend::kCuda, .num_gpus = num_usable_gpus(), .ranks_per_gpu = shares.ranks_per_gpu, .note = ""};
}

std::string refusal_text(const GpuShares& shares) { return cuda_choice(shares).sharing_text() + "; each rank needs its own, or --share-gpus"; }

}  // namespace

std::string BackendChoice::sharing_text() const {
  return format_plural(ranks_per_gpu, "rank") + " would share a GPU (this process sees " + format_plural(num_gpus, "GPU") + ")";
}

OptionGroup backend_options() {
  return {"Backend options",
          {{"backend", "NAME", "auto, cpu or cuda; auto: cuda if every rank has a GPU of its own, else cpu"},
           {"share-gpus", "", "let several ranks share a GPU (for tests; slower than one rank)"}}};
}

std::string backend_name(const Arguments& arguments) {
  std::string name = arguments.text("backend").value_or("auto");
  if (name != "auto" && name != "cpu" && name != "cuda") throw usage_error("--backend is '" + name + "', but must be one of auto, cpu, cuda");
  return name;
}

BackendChoice choose_backend(const Job& job, const Arguments& arguments, std::int64_t virtual_ranks) {
  const std::string name = backend_name(arguments);
  if (name == "cpu") return {};
  if (name == "cuda" && !has_cuda_build()) {
    throw failure("--backend is 'cuda', but this program was built without CUDA: build it where nvcc is found, or use --backend cpu");
  }
  const GpuShares shares = count_shares(job, virtual_ranks);
  const bool may_share = arguments.has("share-gpus");
  if (shares.num_gpus > 0 && (shares.ranks_per_gpu <= 1 || may_share)) return cuda_choice(shares);
  if (name == "auto") return {.note = shares.num_gpus > 0 ? refusal_text(shares) : ""};
  if (shares.num_gpus == 0) {
    throw failure("--backend is 'cuda', but no GPU can be used on some rank's node: is there one, and does CUDA_VISIBLE_DEVICES name it?");
  }
  throw failure("--backend is 'cuda', but " + refusal_text(shares));
}

void require_gpu_memory(const Job& job, const BackendChoice& choice, std::int64_t virtual_ranks, std::int64_t needed_bytes) {
  if (choice.backend != Backend::kCuda) return;
  std::int64_t fewest_free = free_gpu_bytes(choice.gpu_of(job.rank_on_node()));
  for (std::int64_t rank = 0; rank < virtual_ranks; ++rank) fewest_free = std::min(fewest_free, free_gpu_bytes(choice.gpu_of(rank)));
  const std::int64_t share = job.min(fewest_free) / choice.ranks_per_gpu;
  if (needed_bytes <= share) return;
  throw failure("not enough GPU memory: a rank needs " + format_bytes(needed_bytes) + ", its GPU has " + format_bytes(share) +
                " free for it (more ranks on more GPUs need less each)");
}

}  // namespace hilbertring

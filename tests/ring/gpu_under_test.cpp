#include "tests/ring/backend_under_test.h"

namespace hilbertring {

/// Ranks share the GPUs there are. Tensors come and go in several pieces. Tensor cores take weights in the type of the inputs.
const BackendUnderTest& backend_under_test() {
  static const BackendUnderTest gpu{.missing = num_usable_gpus() > 0 ? "" : "no GPU here",
                                    .options =
                                        [](Rank rank, int num_threads, ElementType output_type) {
                                          return RingOptions{.backend = Backend::kCuda,
                                                             .gpu = static_cast<int>(rank.value % num_usable_gpus()),
                                                             .num_threads = num_threads,
                                                             .output_type = output_type,
                                                             .staging_bytes = 2048};
                                        },
                                    .roundoff = [](ElementType type) { return unit_roundoff(type); }};
  return gpu;
}

}  // namespace hilbertring

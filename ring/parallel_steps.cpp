#include "ring/parallel_steps.h"

#include <optional>

#include "core/error.h"

namespace hilbertring {

void for_each_in_parallel(std::size_t count, const std::function<void(std::size_t)>& step) {
  std::optional<Error> error;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < count; ++i) {
    const std::optional<Error> own = error_of([&] { step(i); });
    if (!own) continue;
#pragma omp critical
    error = own;
  }
  if (error) throw *error;
}

}  // namespace hilbertring

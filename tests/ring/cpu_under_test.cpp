#include "tests/ring/backend_under_test.h"

namespace hilbertring {

const BackendUnderTest& backend_under_test() {
  static const BackendUnderTest cpu{
      .missing = "",
      .options = [](Rank, int num_threads, ElementType output_type) { return RingOptions{.num_threads = num_threads, .output_type = output_type}; },
      .roundoff = [](ElementType type) { return unit_roundoff(arithmetic_type(type)); }};
  return cpu;
}

}  // namespace hilbertring

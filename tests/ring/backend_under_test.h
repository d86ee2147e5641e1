#pragma once

#include <string>

#include "core/element_type.h"
#include "ring/attention.h"

namespace hilbertring {

/// The backend that a test program is linked with: the properties of the ring hold on each.
struct BackendUnderTest {
  /// Why its tests can't run here, or "".
  std::string missing;
  RingOptions (*options)(Rank rank, int num_threads, ElementType output_type);
  /// Largest relative error of one rounding of what is multiplied and summed for inputs of the type.
  double (*roundoff)(ElementType type);
};
const BackendUnderTest& backend_under_test();

}  // namespace hilbertring

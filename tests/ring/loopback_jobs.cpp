#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "ring/loopback.h"
#include "tests/ring/jobs.h"

namespace hilbertring::testing {

void run_in_jobs(const std::function<void(Transport&)>& body) {
  for (const std::int64_t num_ranks : {1, 2, 3, 4, 7, 8}) {
    SCOPED_TRACE(std::to_string(num_ranks) + " ranks");
    run_loopback(num_ranks, body);
  }
}

}  // namespace hilbertring::testing

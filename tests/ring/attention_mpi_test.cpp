#include <gtest/gtest.h>
#include <mpi.h>

#include "ring/mpi_transport.h"
#include "tests/ring/backend_under_test.h"
#include "tests/ring/loopback_comparison.h"

namespace hilbertring {
namespace {

TEST(RingAttentionOverMpi, EqualsLoopbackBitwise) {
  if (!backend_under_test().missing.empty()) GTEST_SKIP() << backend_under_test().missing;
  const std::unique_ptr<Transport> transport = make_mpi_transport(MPI_COMM_WORLD);

  expect_same_bits_as_alone(*transport);
}

}  // namespace
}  // namespace hilbertring

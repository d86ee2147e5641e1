#include <mpi.h>

#include "ring/mpi_transport.h"
#include "tests/ring/jobs.h"

namespace hilbertring::testing {

void run_in_jobs(const std::function<void(Transport&)>& body) {
  const auto transport = make_mpi_transport(MPI_COMM_WORLD);
  body(*transport);
}

}  // namespace hilbertring::testing

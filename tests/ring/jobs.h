#pragma once

#include <functional>

#include "ring/transport.h"

namespace hilbertring::testing {

/// Runs `body` on all ranks of every job that the test program stands for: loopback jobs of 1, 2, 3, 4, 7 and 8 ranks (loopback_jobs.cpp), or the one
/// MPI job in which the program was started (mpi_jobs.cpp). The same properties are thus tested on both transports.
void run_in_jobs(const std::function<void(Transport&)>& body);

}  // namespace hilbertring::testing

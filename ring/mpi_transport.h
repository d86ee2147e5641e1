#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>

#include "ring/transport.h"

namespace hilbertring {

/// Longest single MPI message, in bytes: an MPI count is an int. Longer transfers travel as several messages of the same tag.
inline constexpr std::int64_t kMaxMpiMessageBytes = std::int64_t{1} << 30;

/// A transport over a duplicate of `communicator`, so that its messages meet nobody else's. Collective over `communicator`; MPI_Init has been called
/// (MPI_THREAD_FUNNELED is enough) and MPI_Finalize must not be called while transfers are under way.
///
/// Every MPI error becomes Error(kFailure, "MPI", ...) with the rank; those met in progress() are thrown by the transfer's wait(). A transfer that is
/// dropped before it is complete does not wait: its receives are cancelled, but the bytes of a dropped send must outlive the job's end.
/// `max_message_bytes` (1 .. kMaxMpiMessageBytes) must be the same on all ranks; it is there for tests of the splitting.
std::unique_ptr<Transport> make_mpi_transport(MPI_Comm communicator, std::int64_t max_message_bytes = kMaxMpiMessageBytes);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <string>

#include "drivers/job.h"
#include "drivers/options.h"

namespace hilbertring {

/// How the ranks of a command talk: virtual ranks of one process, or the job's MPI ranks.
enum class TransportKind { kLoopback, kMpi };
std::string to_string(TransportKind kind);

/// From --transport: auto takes mpi if the job has several ranks. Throws usage_error for loopback on several MPI ranks and for unknown names.
TransportKind transport_kind(const Job& job, const Arguments& arguments);
/// From --ranks; with mpi it may only repeat the job's own number.
std::int64_t number_of_ranks(const Job& job, const Arguments& arguments, TransportKind kind);
/// From --threads, per rank; else a share of what this node has for each of its ranks.
int number_of_threads(const Arguments& arguments, std::int64_t ranks_on_node);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <string>

namespace hilbertring {

/// Memory that new programs may take without swapping (MemAvailable of /proc/meminfo), bytes; INT64_MAX where the system does not tell.
std::int64_t available_memory_bytes();
/// Most memory that this process had at a time (VmHWM of /proc/self/status), bytes; 0 where the system does not tell.
std::int64_t peak_resident_bytes();
/// Of this node; "unknown host" where the system does not tell.
std::string host_name();
/// Threads for one of `ranks_on_node` ranks: OMP_NUM_THREADS if it is set, else an equal share of the node's processors that this process may use; at
/// least 1.
int default_num_threads(int ranks_on_node);

}  // namespace hilbertring

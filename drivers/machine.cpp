#include "drivers/machine.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

namespace hilbertring {

namespace {

/// The figure behind "name:" in a file of /proc, whose unit is always kB; -1 if it is not there.
std::int64_t proc_bytes(const char* path, const std::string& name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(name + ":")) return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
  }
  return -1;
}

}  // namespace

std::int64_t available_memory_bytes() {
  const std::int64_t num_bytes = proc_bytes("/proc/meminfo", "MemAvailable");
  return num_bytes < 0 ? std::numeric_limits<std::int64_t>::max() : num_bytes;
}

std::int64_t peak_resident_bytes() { return std::max<std::int64_t>(proc_bytes("/proc/self/status", "VmHWM"), 0); }

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown host";
}

int default_num_threads(int ranks_on_node) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return std::max(omp_get_max_threads(), 1);
  // A launcher may have bound this process to some processors: those are its own; otherwise it shares the node's.
  const auto share = static_cast<int>(std::thread::hardware_concurrency()) / ranks_on_node;
  return std::max(std::min(omp_get_num_procs(), share), 1);
}

}  // namespace hilbertring

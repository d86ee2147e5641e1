#pragma once

#ifdef HILBERTRING_HAS_CUDA
#include <nvtx3/nvToolsExt.h>
#endif

namespace hilbertring {

/// A named stretch of the calling thread's time, for profilers that show NVTX ranges (nsys, ncu); costs next to nothing without one.
class TraceRange {
 public:
#ifdef HILBERTRING_HAS_CUDA
  explicit TraceRange(const char* name) { nvtxRangePushA(name); }
  ~TraceRange() { nvtxRangePop(); }
#else
  explicit TraceRange(const char* /*name*/) {}
#endif
  TraceRange(const TraceRange&) = delete;
  TraceRange& operator=(const TraceRange&) = delete;
};

}  // namespace hilbertring

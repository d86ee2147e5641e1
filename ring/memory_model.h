#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ring/schedule.h"

namespace hilbertring {

/// Bytes of buffers that one rank holds, by what they are for: predicted before anything is allocated.
struct MemoryPrediction {
  std::int64_t shard_bytes = 0;           ///< inputs, state, results and times of the rank's own rows: held all the time
  std::int64_t redistribution_bytes = 0;  ///< lists of rows, held all the time
  std::int64_t load_bytes = 0;            ///< most that loading or storing a tensor adds (not counting the caller's slab)
  std::int64_t forward_bytes = 0;         ///< what the forward pass adds: buffers for visiting rows
  std::int64_t backward_bytes = 0;        ///< what the backward pass adds
  std::int64_t scratch_bytes = 0;         ///< working memory of the kernels' threads

  std::int64_t peak_bytes() const;
};

MemoryPrediction predict_memory(const Schedule& schedule, Rank rank, int num_threads);

}  // namespace hilbertring

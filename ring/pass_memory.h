#pragma once

#include <vector>

#include "ring/rank_times.h"
#include "ring/visit_buffers.h"

namespace hilbertring {

/// What passes need besides the shard. Kept from one pass to the next, since pinned memory takes long to get.
struct PassMemory {
  PassMemory(const Schedule& schedule, const Mailroom& mailroom, const RankMeters& meters, bool in_legs);

  std::vector<VisitBuffers> buffers;  ///< of each slice
  RankTimes visitor_times;
};

}  // namespace hilbertring

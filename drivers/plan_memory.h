#pragma once

#include <cstdint>
#include <string>

#include "drivers/options.h"
#include "drivers/text_table.h"
#include "ring/memory_model.h"

namespace hilbertring {

/// Where and how the ranks of a plan hold their tensors.
struct PlannedLayout {
  MessagePath path = MessagePath::kHost;
  int num_threads = 1;  ///< per rank
  ElementType output_type = ElementType::kFloat32;
  bool in_legs = false;     ///< with checkpoints
  bool is_assumed = false;  ///< nobody said where it computes
};

/// The rank that needs most where its tensors lie; of many ranks, only those at even distances are looked at.
struct LargestRank {
  Rank rank;
  RankMemory memory;
  std::int64_t host_bytes = 0;  ///< at the peak
  std::int64_t num_looked_at = 0;

  std::int64_t gpu_bytes() const { return memory.gpu.peak_bytes(); }
};
LargestRank largest_rank(const Schedule& schedule, const PlannedLayout& layout);

void add_memory_rows(TextTable& table, const Schedule& schedule, const PlannedLayout& layout, const LargestRank& largest);
/// Throws Error(kFailure) with both figures if the rank needs more than --check-memory, --check-gpu-memory or (`run`'s option, which binds only where
/// it is known where the rank computes) --memory-limit allows.
void require_planned_memory(const Arguments& arguments, const PlannedLayout& layout, const LargestRank& largest);

}  // namespace hilbertring

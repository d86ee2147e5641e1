#include "drivers/plan_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/units.h"
#include "ring/fold_work.h"
#include "ring/parallel_steps.h"

namespace hilbertring {

namespace {

/// A rank's prediction asks for each of its P visits.
constexpr std::int64_t kMaxRanksLookedAt = 64;

std::string host_text(const Schedule& schedule, const LargestRank& largest) {
  const MemoryPrediction& memory = largest.memory.host;
  const bool has_all = largest.num_looked_at == schedule.num_ranks();
  return format_bytes(largest.host_bytes) + " at the peak on rank " + std::to_string(largest.rank.value) +
         (has_all ? ", the largest" : ", the largest of " + std::to_string(largest.num_looked_at) + " looked at") + ": shard " +
         format_bytes(memory.shard_bytes + memory.redistribution_bytes) + ", and while reading or writing " +
         format_bytes(memory.load_in_pieces_bytes) + ", during a pass " + format_bytes(memory.pass_bytes) + "; kernels " +
         format_bytes(memory.scratch_bytes);
}

std::string gpu_text(const LargestRank& largest) {
  const MemoryPrediction& memory = largest.memory.gpu;
  return format_bytes(largest.gpu_bytes()) + " at the peak on the same rank: shard " + format_bytes(memory.shard_bytes) +
         ", and while reading or writing " + format_bytes(memory.load_bytes) + ", during a pass " + format_bytes(memory.pass_bytes) +
         "; lists of work, some MiB, and NCCL's buffers apart";
}

void require_at_most(const Arguments& arguments, const std::string& option, const LargestRank& largest, std::int64_t needed_bytes,
                     const std::string& where) {
  const auto limit = arguments.text(option);
  if (!limit || needed_bytes <= parse_bytes(option, *limit)) return;
  throw failure("not enough " + where + ": rank " + std::to_string(largest.rank.value) + " needs " + format_bytes(needed_bytes) + ", --" + option +
                " allows " + format_bytes(parse_bytes(option, *limit)));
}

}  // namespace

LargestRank largest_rank(const Schedule& schedule, const PlannedLayout& layout) {
  const std::vector<Rank> ranks = ranks_at_even_distances(schedule.num_ranks(), kMaxRanksLookedAt);
  std::vector<LargestRank> all(ranks.size());
  for_each_in_parallel(ranks.size(), [&](std::size_t i) {
    const RankMemory memory = predict_memory(schedule, ranks[i], layout.path, layout.num_threads, layout.output_type, kStagingBytes, layout.in_legs);
    all[i] = {ranks[i], memory, memory.host.total_in_pieces_bytes(), static_cast<std::int64_t>(ranks.size())};
  });
  return *std::ranges::max_element(all, {}, [](const LargestRank& of) { return std::pair(of.gpu_bytes(), of.host_bytes); });
}

void add_memory_rows(TextTable& table, const Schedule& schedule, const PlannedLayout& layout, const LargestRank& largest) {
  table.add_row({"memory", host_text(schedule, largest)});
  if (layout.path != MessagePath::kHost) table.add_row({"on its GPU", gpu_text(largest)});
}

void require_planned_memory(const Arguments& arguments, const PlannedLayout& layout, const LargestRank& largest) {
  require_at_most(arguments, "check-memory", largest, largest.host_bytes, "memory");
  if (!layout.is_assumed) require_at_most(arguments, "memory-limit", largest, largest.host_bytes, "memory");
  require_at_most(arguments, "check-gpu-memory", largest, largest.gpu_bytes(), "GPU memory");
}

}  // namespace hilbertring

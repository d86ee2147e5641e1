#include "ring/pass_memory.h"

#include <algorithm>

namespace hilbertring {

namespace {

std::vector<VisitBuffers> make_buffers(const Schedule& schedule, const Mailroom& mailroom, const RankMeters& meters, bool in_legs) {
  std::vector<VisitBuffers> buffers;
  for (std::int64_t i = 0; i < schedule.num_slices(); ++i) {
    buffers.emplace_back(visit_buffer_sizes(schedule.slice(i), mailroom.transport.rank(), mailroom.path(), in_legs), mailroom, meters);
  }
  return buffers;
}

/// Of shards that may visit.
std::int64_t max_visitor_rows(const Schedule& schedule, const std::vector<VisitBuffers>& buffers) {
  const bool has_visitors = std::any_of(buffers.begin(), buffers.end(), [](const VisitBuffers& of_slice) { return of_slice.num_slots > 0; });
  return has_visitors ? schedule.placement().max_rows() : 0;
}

}  // namespace

PassMemory::PassMemory(const Schedule& schedule, const Mailroom& mailroom, const RankMeters& meters, bool in_legs)
    : buffers(make_buffers(schedule, mailroom, meters, in_legs)),
      visitor_times(schedule, max_visitor_rows(schedule, buffers), mailroom.device, meters) {}

}  // namespace hilbertring

#include "ring/rank_times.h"

#include <utility>

namespace hilbertring {

std::int64_t times_bytes(const Problem& problem, std::int64_t num_rows) {
  return problem.specification.causal == Causal::kSequence ? num_rows * static_cast<std::int64_t>(sizeof(std::int64_t)) : 0;
}

std::span<std::int64_t> times_in(const Buffer& buffer) {
  return {reinterpret_cast<std::int64_t*>(buffer.data()), static_cast<std::size_t>(buffer.size_bytes()) / sizeof(std::int64_t)};
}

void fill_times(const Order& order, const ChunkPlacement& placement, Rank k, std::span<std::int64_t> times) {
  std::size_t row = 0;
  for (const Range<Position>& span : placement.spans(k)) {
    const auto size = static_cast<std::size_t>(span.size());
    order.fill(span, times.subspan(row, size));
    row += size;
  }
}

RankTimes::RankTimes(const Schedule& schedule, std::int64_t max_rows, ComputeDevice& device, const RankMeters& meters)
    : schedule_(schedule), device_(device), memory_(device.allocate(times_bytes(schedule.problem(), max_rows), meters.device)) {
  if (device.is_host()) return;
  for (Copy& copy : copies_) {
    copy.memory = device.allocate_shared(times_bytes(schedule.problem(), max_rows), meters.host);
    copy.is_gone = device.make_mark();
  }
}

std::span<const std::int64_t> RankTimes::of(const Order& order, Rank owner) {
  if (memory_.size_bytes() == 0) return {};
  const auto rows = static_cast<std::size_t>(schedule_.placement().num_rows(owner));
  const std::span<std::int64_t> times = times_in(memory_).first(rows);
  if (device_.is_host()) {
    fill_times(order, schedule_.placement(), owner, times);
    return times;
  }
  std::swap(copies_[0], copies_[1]);
  copies_[0].is_gone->wait();
  fill_times(order, schedule_.placement(), owner, times_in(copies_[0].memory).first(rows));
  device_.copy_in(memory_.data(), copies_[0].memory.data(), static_cast<std::int64_t>(times.size_bytes()));
  copies_[0].is_gone->set(WorkQueue::kCompute);
  return times;
}

}  // namespace hilbertring

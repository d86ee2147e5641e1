#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/compute_device.h"
#include "ring/schedule.h"
#include "ring/visit_buffers.h"

namespace hilbertring {

/// Sequence indices of a rank's rows, where the kernels read them (Causal::kSequence).
std::int64_t times_bytes(const Problem& problem, std::int64_t num_rows);
/// Fills `times` with the sequence indices of the rows of rank k.
void fill_times(const Order& order, const ChunkPlacement& placement, Rank k, std::span<std::int64_t> times);
std::span<std::int64_t> times_in(const Buffer& buffer);

/// The times of one rank's rows after another's: each may be read by work handed in to the compute queue before the next is asked for. Empty without
/// sequence causality.
class RankTimes {
 public:
  /// For shards of up to `max_rows`.
  RankTimes(const Schedule& schedule, std::int64_t max_rows, ComputeDevice& device, const RankMeters& meters);
  std::span<const std::int64_t> of(const Order& order, Rank owner);

  /// Bytes on the device and, where that is not the host, of the copies there.
  static std::int64_t device_bytes(const Problem& problem, std::int64_t max_rows) { return times_bytes(problem, max_rows); }
  static std::int64_t host_bytes(const Problem& problem, std::int64_t max_rows) { return kCopies * times_bytes(problem, max_rows); }

 private:
  /// Two, so that one can be filled while the other is on its way.
  static constexpr std::int64_t kCopies = 2;
  struct Copy {
    Buffer memory;
    std::unique_ptr<WorkMark> is_gone;
  };

  const Schedule& schedule_;
  ComputeDevice& device_;
  Buffer memory_;
  std::array<Copy, kCopies> copies_;
};

}  // namespace hilbertring

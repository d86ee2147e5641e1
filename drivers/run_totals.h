#pragma once

#include <cstdint>
#include <string>

#include "core/element_type.h"

namespace hilbertring {

/// One pass over all ranks: times are the slowest rank's, counts are sums.
struct PassTotals {
  double seconds = 0;
  double waiting_seconds = 0;
  std::int64_t allowed_pairs = 0;
  std::int64_t sent_bytes = 0;
  std::int64_t predicted_bytes = 0;

  PassTotals& operator+=(const PassTotals& leg) {
    seconds += leg.seconds;
    waiting_seconds += leg.waiting_seconds;
    allowed_pairs += leg.allowed_pairs;
    sent_bytes += leg.sent_bytes;
    predicted_bytes += leg.predicted_bytes;
    return *this;
  }
};

/// A whole run over all ranks: times and bytes are those of the slowest or largest rank.
struct RunTotals {
  double read_seconds = 0;
  double write_seconds = 0;
  PassTotals forward;
  PassTotals backward;
  std::int64_t num_checkpoints = 0;  ///< written
  double checkpoint_seconds = 0;
  std::int64_t peak_bytes = 0;                ///< of the library's buffers, counted
  std::int64_t predicted_peak_bytes = 0;      ///< likewise, predicted
  std::int64_t resident_bytes = 0;            ///< of a process, as the system counted
  std::int64_t gpu_peak_bytes = 0;            ///< tensors on the rank's GPU; 0 on the CPU
  std::int64_t predicted_gpu_peak_bytes = 0;  ///< likewise, predicted
  std::int64_t gpu_scratch_bytes = 0;         ///< what the kernels take there besides
  std::string device;
  ElementType weights_type = ElementType::kFloat32;  ///< to which softmax weights are rounded before they are multiplied
};

}  // namespace hilbertring

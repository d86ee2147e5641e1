#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "io/case_file.h"
#include "ring/attention.h"
#include "ring/schedule.h"
#include "ring/transport.h"

namespace hilbertring {

/// What every rank of a run is given.
struct RankTask {
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  bool allows_nonfinite = false;
  ElementType output_type = ElementType::kFloat32;  ///< of o and gradients; lse is float32
  CaseFile* input = nullptr;                        ///< shared by the virtual ranks of one process
  FileWriter* output = nullptr;                     ///< likewise
};

/// One pass over all ranks: times are the slowest rank's, counts are sums.
struct PassTotals {
  double seconds = 0;
  double waiting_seconds = 0;
  std::int64_t allowed_pairs = 0;
  std::int64_t sent_bytes = 0;
  std::int64_t predicted_bytes = 0;
};

/// A whole run over all ranks: times and bytes are those of the slowest or largest rank.
struct RunTotals {
  double read_seconds = 0;
  double write_seconds = 0;
  PassTotals forward;
  PassTotals backward;
  std::int64_t peak_bytes = 0;                ///< of the library's buffers, counted
  std::int64_t predicted_peak_bytes = 0;      ///< likewise, predicted
  std::int64_t resident_bytes = 0;            ///< of a process, as the system counted
  std::int64_t gpu_peak_bytes = 0;            ///< tensors on the rank's GPU; 0 on the CPU
  std::int64_t predicted_gpu_peak_bytes = 0;  ///< likewise, predicted
  std::int64_t gpu_scratch_bytes = 0;         ///< what the kernels' work lists take there besides
  std::string device;
  ElementType weights_type = ElementType::kFloat32;  ///< to which softmax weights are rounded before they are multiplied
};

/// The slab of the largest tensor, in or out, as a rank reads or writes it.
std::int64_t largest_slab_bytes(const Schedule& schedule, Rank rank, ElementType output_type);
/// Most bytes that a rank holds at a time: the library's buffers and the slab that goes in or out meanwhile.
std::int64_t peak_with_slab(const MemoryPrediction& prediction, const Schedule& schedule, Rank rank, ElementType output_type);

/// Reads this rank's slabs, computes, writes its slabs. Collective over the transport. Throws input_error for NaN and infinity (agreed), failure when
/// the bytes sent are not the bytes predicted.
RunTotals run_rank(Transport& transport, const RankTask& task);

}  // namespace hilbertring

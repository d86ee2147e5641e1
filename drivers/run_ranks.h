#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "drivers/run_totals.h"
#include "io/case_file.h"
#include "ring/attention.h"
#include "ring/schedule.h"
#include "ring/transport.h"

namespace hilbertring {

struct CheckpointPlan;

/// What every rank of a run is given.
struct RankTask {
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  bool allows_nonfinite = false;
  ElementType output_type = ElementType::kFloat32;  ///< of o and gradients; lse is float32
  CaseFile* input = nullptr;                        ///< shared by the virtual ranks of one process
  FileWriter* output = nullptr;                     ///< likewise
  CheckpointPlan* checkpoints = nullptr;            ///< likewise; null: the passes are not cut
};

/// Most bytes that a rank holds at a time where it takes in and hands out whole slabs, as `bench` does: the library's buffers and the slab.
std::int64_t peak_with_slab(const MemoryPrediction& prediction, const Schedule& schedule, Rank rank, ElementType output_type);

/// Reads this rank's slabs piece by piece, computes, writes its slabs likewise. Collective over the transport. Throws input_error for NaN and
/// infinity (agreed), failure when the bytes sent are not the bytes predicted, Error(kStopped) where a signal asked it to stop and the state has been
/// saved.
RunTotals run_rank(Transport& transport, const RankTask& task);

}  // namespace hilbertring

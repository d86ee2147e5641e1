#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "drivers/checkpoint.h"
#include "drivers/leg_planner.h"
#include "drivers/run_ranks.h"
#include "drivers/stop_signal.h"
#include "drivers/stopwatch.h"
#include "ring/attention.h"

namespace hilbertring {

/// How a run is cut into legs and what becomes of its state: the same for all ranks of a process.
struct CheckpointPlan {
  const CheckpointStore* store = nullptr;
  const StopSignal* stop = nullptr;
  double seconds_between = 0;       ///< of checkpoints; 0: only when it is asked to stop
  std::optional<Checkpoint> start;  ///< to go on from
  bool is_shared = false;           ///< by virtual ranks of one process, which share files
  std::unique_ptr<FileWriter> shared_writer;
};

/// The passes of one rank, leg by leg, with a checkpoint between legs when it is time. Methods are collective over the transport.
class RunInLegs {
 public:
  /// `totals` are added to.
  RunInLegs(Transport& transport, const RankTask& task, RingAttention& attention, RunTotals& totals);

  /// After the inputs have been loaded: takes in the state of the checkpoint, if there is one, and returns where the run begins.
  RunPlace begin();
  /// Folds the pass from this lag to its end. Throws Error(kStopped) on all ranks, with the state saved, if it was asked to stop.
  void run(Pass pass, std::int64_t first_lag);

 private:
  void save(const RunPlace& place);

  Transport& transport_;
  CheckpointPlan& plan_;
  const Problem& problem_;
  RingAttention& attention_;
  RunTotals& totals_;
  LegPlanner planner_;
  Stopwatch since_last_save_;
};

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "drivers/job.h"
#include "drivers/options.h"
#include "drivers/run_totals.h"
#include "io/case_file.h"
#include "ring/problem.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Whether one of `run`'s options for checkpoints is given.
bool asks_for_checkpoints(const Arguments& arguments);

/// How far a run has come: the leg that comes next begins with this lag of this pass.
struct RunPlace {
  Pass pass = Pass::kForward;
  std::int64_t lag = 0;
};

/// The tensors of the state between legs of a pass.
std::vector<TensorName> state_names(Pass pass);

/// What a run and a checkpoint must agree on for the same bits, but for the specification, which has its place in the file.
struct RunIdentity {
  Problem problem;      ///< with its chunk
  std::string backend;  ///< "cpu", "cuda"
  std::string inputs;   ///< fingerprint of the case's tensors
};
/// SHA-256 sums of the inputs as the file states them, or else its size and time of change; and of its order, if that is used. Collective over the
/// file's communicator.
std::string input_fingerprint(CaseFile& file, const Problem& problem);

/// A checkpoint that has been found whole.
struct Checkpoint {
  std::string path;
  RunPlace place;
  PassTotals forward, backward;  ///< so far
  std::unique_ptr<CaseFile> state;
};

/// The checkpoints of one result: BASE.checkpoint, the one before it, BASE.checkpoint-old, and BASE.checkpoint-new while the two change places.
/// Each is complete or absent, like a result. Methods are collective over the job unless they say otherwise.
class CheckpointStore {
 public:
  /// `base`: the path of the result, in the directory for checkpoints.
  CheckpointStore(const Job& job, std::string base, RunIdentity identity);

  /// The newest whole one. What is found damaged is said and left out. Throws input_error if all are damaged, usage_error if one is of another run.
  std::optional<Checkpoint> find(std::ostream& out) const;

  // Over the file's communicator: all MPI ranks, or one of several virtual ranks.
  std::unique_ptr<FileWriter> create(const RunPlace& place) const;
  /// Ends the writing of it.
  void complete(FileWriter& writer, const RunPlace& place, const PassTotals& forward, const PassTotals& backward) const;
  /// What was completed last is the newest from now on. Not collective: one rank does it.
  void make_newest() const;
  /// The result is there: nobody needs them any more.
  void remove_all() const;

  std::string newest_path() const { return base_ + ".checkpoint"; }

 private:
  std::vector<std::string> candidates() const;
  std::optional<Checkpoint> read(const std::string& path) const;
  void require_same_run(const CaseFile& file, const std::string& text, const std::string& path) const;
  void verify_sums(CaseFile& file, const std::string& path) const;

  const Job& job_;
  std::string base_;
  RunIdentity identity_;
};

}  // namespace hilbertring

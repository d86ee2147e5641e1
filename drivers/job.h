#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

#include "core/error.h"

namespace hilbertring {

/// The ranks of an MPI job that are on this rank's node.
class NodeRanks {
 public:
  /// Collective over the job's ranks.
  explicit NodeRanks(MPI_Comm job);
  NodeRanks(const NodeRanks&) = delete;
  NodeRanks& operator=(const NodeRanks&) = delete;
  ~NodeRanks();

  MPI_Comm communicator() const { return communicator_; }
  int count() const;
  int rank() const;

 private:
  MPI_Comm communicator_ = MPI_COMM_NULL;
};

/// The MPI job that this process belongs to: one rank, unless it was started by mpirun or srun. Initialises MPI, and finalises it when destroyed.
///
/// How a job ends with an error: if all ranks have one within a few seconds (an error that they agreed on), rank 0 prints it and every rank ends with
/// its status. If a rank is alone with its error, others may be waiting for it: it prints its line and aborts the job.
class Job {
 public:
  Job(int& argc, char**& argv);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  MPI_Comm communicator() const { return MPI_COMM_WORLD; }
  int rank() const { return rank_; }
  int num_ranks() const { return num_ranks_; }
  bool is_first() const { return rank_ == 0; }
  /// Ranks of the job on this rank's node, this one among them.
  int ranks_on_node() const { return ranks_on_node_; }
  /// This rank's number among them.
  int rank_on_node() const { return rank_on_node_; }
  /// Standard output on rank 0, nowhere on others.
  std::ostream& out() const;

  /// Collective.
  std::int64_t max(std::int64_t value) const;
  std::int64_t min(std::int64_t value) const;
  /// How many ranks gave the value that most ranks gave.
  std::int64_t most_equal(std::uint64_t value) const;
  /// How many machines the ranks run on.
  std::int64_t num_nodes() const;

  /// Runs a step that all ranks take part in while objects with collective destructors (open files, transports) exist. An error of all ranks is
  /// passed on; a rank that is alone with one ends the job here, since unwinding would wait for the others for ever.
  void together(const std::function<void()>& step) const;
  /// Ends with an error as described above; returns the exit status (2 to 5), unless the job is aborted.
  int end_with(const Error& error) const;
  /// Throws usage_error when there are several ranks: for commands that one process does.
  void require_one_rank(const std::string& command) const;

 private:
  bool all_ranks_failed() const;
  std::string line_of(const Error& error, bool is_mine_alone) const;
  [[noreturn]] void abort_with(const Error& error) const;

  MPI_Comm errors_ = MPI_COMM_NULL;  ///< for meeting after an error
  int rank_ = 0;
  int num_ranks_ = 1;
  int ranks_on_node_ = 1;
  int rank_on_node_ = 0;
};

}  // namespace hilbertring

#include "drivers/job.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

#include "drivers/machine.h"
#include "drivers/network_cards.h"
#include "io/removed_on_signal.h"

namespace hilbertring {

namespace {

constexpr auto kMeetingTime = std::chrono::seconds(3);

std::int64_t reduced(std::int64_t value, MPI_Op operation, MPI_Comm communicator) {
  MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, operation, communicator);
  return value;
}

}  // namespace

NodeRanks::NodeRanks(MPI_Comm job) { MPI_Comm_split_type(job, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &communicator_); }

NodeRanks::~NodeRanks() { MPI_Comm_free(&communicator_); }

int NodeRanks::count() const {
  int count = 1;
  MPI_Comm_size(communicator_, &count);
  return count;
}

int NodeRanks::rank() const {
  int rank = 0;
  MPI_Comm_rank(communicator_, &rank);
  return rank;
}

// MPI's own error handler ends the job on any error in the few calls here; the transports handle theirs.
Job::Job(int& argc, char**& argv) {
  // A program started without mpirun needs no daemon of Open MPI beside it; the setting means nothing to others and to jobs of several ranks.
  ::setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
  // All such processes of a user would make and remove one folder at the same time; alone in its job, a process needs none.
  if (std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr && std::getenv("PMIX_NAMESPACE") == nullptr) {
    ::setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
  }
  choose_network_card();
  // Virtual ranks (threads) of a loopback job take turns in HDF5, and through it in MPI.
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &num_ranks_);
  MPI_Comm_dup(MPI_COMM_WORLD, &errors_);
  const NodeRanks node(MPI_COMM_WORLD);
  ranks_on_node_ = node.count();
  rank_on_node_ = node.rank();
}

Job::~Job() {
  MPI_Comm_free(&errors_);
  MPI_Finalize();
}

std::ostream& Job::out() const {
  static std::ostream nowhere(nullptr);
  return is_first() ? std::cout : nowhere;
}

std::int64_t Job::max(std::int64_t value) const { return reduced(value, MPI_MAX, MPI_COMM_WORLD); }

std::int64_t Job::num_nodes() const { return reduced(rank_on_node_ == 0 ? 1 : 0, MPI_SUM, MPI_COMM_WORLD); }

std::int64_t Job::min(std::int64_t value) const { return reduced(value, MPI_MIN, MPI_COMM_WORLD); }

std::int64_t Job::most_equal(std::uint64_t value) const {
  std::vector<std::uint64_t> values(static_cast<std::size_t>(num_ranks_));
  MPI_Allgather(&value, 1, MPI_UINT64_T, values.data(), 1, MPI_UINT64_T, MPI_COMM_WORLD);
  std::int64_t most = 0;
  for (const std::uint64_t one : values) most = std::max<std::int64_t>(most, std::ranges::count(values, one));
  return most;
}

void Job::together(const std::function<void()>& step) const {
  try {
    step();
  } catch (...) {
    if (!all_ranks_failed()) abort_with(current_error());
    throw;
  }
}

int Job::end_with(const Error& error) const {
  std::cout.flush();
  if (!all_ranks_failed()) abort_with(error);
  if (is_first()) std::fputs(line_of(error, false).c_str(), stderr);
  return static_cast<int>(error.kind());
}

void Job::require_one_rank(const std::string& command) const {
  if (num_ranks_ > 1) throw usage_error(command + " runs in one process, but was started on " + std::to_string(num_ranks_) + " MPI ranks");
}

bool Job::all_ranks_failed() const {
  MPI_Request meeting = MPI_REQUEST_NULL;
  MPI_Ibarrier(errors_, &meeting);
  const auto deadline = std::chrono::steady_clock::now() + kMeetingTime;
  int is_complete = 0;
  while (true) {
    MPI_Test(&meeting, &is_complete, MPI_STATUS_IGNORE);
    if (is_complete != 0 || std::chrono::steady_clock::now() > deadline) return is_complete != 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::string Job::line_of(const Error& error, bool is_mine_alone) const {
  const int rank = error.rank() >= 0 ? error.rank() : rank_;
  const bool names_rank = is_mine_alone || (error.rank() >= 0 && num_ranks_ > 1) || error.rank() > 0;
  std::string text = "hilbertring: ";
  if (names_rank) text += "rank " + std::to_string(rank) + (rank == rank_ || num_ranks_ == 1 ? " on " + host_name() : "") + ": ";
  text += error.what();
  // What was read from a file or given as an argument may hold line breaks.
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return text + "\n";
}

void Job::abort_with(const Error& error) const {
  std::cout.flush();
  std::fputs(line_of(error, num_ranks_ > 1).c_str(), stderr);
  std::fflush(stderr);
  RemovedOnSignal::remove_all();
  MPI_Abort(MPI_COMM_WORLD, static_cast<int>(error.kind()));
  std::_Exit(static_cast<int>(error.kind()));
}

}  // namespace hilbertring

#include "io/agreement.h"

#include <array>

namespace hilbertring {
namespace {

void check_mpi(int code, const char* what, std::source_location where = std::source_location::current()) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw Error(ErrorKind::kFailure, "MPI", std::string(what) + ": " + text.data(), -1, where);
}

bool is_mpi_running() {
  int is_initialized = 0;
  int is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  return is_initialized != 0 && is_finalized == 0;
}

}  // namespace

FileRanks::FileRanks(MPI_Comm comm) {
  if (!is_mpi_running()) return;
  check_mpi(MPI_Comm_size(comm, &size_), "size of the communicator");
  if (size_ == 1) return;
  check_mpi(MPI_Comm_rank(comm, &rank_), "rank in the communicator");
  check_mpi(MPI_Comm_dup(comm, &comm_), "duplicate the communicator");
  check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "let the communicator return errors");
}

FileRanks::~FileRanks() {
  if (comm_ != MPI_COMM_NULL && !unwinding_.is_under_way() && is_mpi_running()) MPI_Comm_free(&comm_);
}

void FileRanks::agree(const std::optional<Error>& error) const {
  if (!is_parallel()) {
    if (error) throw *error;
    return;
  }
  int first_failed = error ? rank_ : size_;
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, &first_failed, 1, MPI_INT, MPI_MIN, comm_), "agree on success");
  if (first_failed == size_) return;
  const std::string kind = broadcast(error ? std::to_string(static_cast<int>(error->kind())) : "", first_failed);
  const std::string library = broadcast(error ? error->library() : "", first_failed);
  const std::string text = broadcast(error ? error->message() : "", first_failed);
  // A machine failed: which one matters. A bad file is the same seen from everywhere.
  const bool is_local = std::stoi(kind) == static_cast<int>(ErrorKind::kFailure);
  throw Error(static_cast<ErrorKind>(std::stoi(kind)), library, text, is_local ? first_failed : -1);
}

void FileRanks::collectively(const std::function<void()>& step) const { agree(error_of(step)); }

void FileRanks::on_first_rank(const std::function<void()>& step) const {
  collectively([&] {
    if (rank_ == 0) step();
  });
}

std::int64_t FileRanks::max(std::int64_t value) const {
  if (is_parallel()) check_mpi(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, MPI_MAX, comm_), "agree on a maximum");
  return value;
}

std::string FileRanks::broadcast(const std::string& text, int root) const {
  if (!is_parallel()) return text;
  std::int64_t length = static_cast<std::int64_t>(text.size());
  check_mpi(MPI_Bcast(&length, 1, MPI_INT64_T, root, comm_), "share a text");
  std::string shared = rank_ == root ? text : std::string(static_cast<std::size_t>(length), ' ');
  check_mpi(MPI_Bcast(shared.data(), static_cast<int>(length), MPI_CHAR, root, comm_), "share a text");
  return shared;
}

}  // namespace hilbertring

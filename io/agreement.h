#pragma once

#include <mpi.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace hilbertring {

/// Tells a destructor whether an exception that came up during its object's life is on its way: then other ranks may never arrive, and nothing
/// collective may be called.
class Unwinding {
 public:
  bool is_under_way() const { return std::uncaught_exceptions() > exceptions_at_creation_; }

 private:
  int exceptions_at_creation_ = std::uncaught_exceptions();
};

/// The ranks that share a file: an own duplicate of the caller's communicator, with errors returned as codes. One rank (or MPI not initialised) never
/// calls MPI. Creation and destruction (without an exception) are collective; it must be destroyed before MPI_Finalize to be freed.
class FileRanks {
 public:
  explicit FileRanks(MPI_Comm comm);
  ~FileRanks();
  FileRanks(const FileRanks&) = delete;
  FileRanks& operator=(const FileRanks&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool is_parallel() const { return size_ > 1; }
  MPI_Comm comm() const { return comm_; }

  /// Collective. If any rank brings an error, every rank throws the error of the lowest rank that has one.
  void agree(const std::optional<Error>& error) const;
  /// Collective: runs `step` on this rank, then agrees on what it threw. `step` must not leave other ranks waiting inside when it throws.
  void collectively(const std::function<void()>& step) const;
  /// Collective: `step` on rank 0 alone; its error is everybody's.
  void on_first_rank(const std::function<void()>& step) const;

  std::int64_t max(std::int64_t value) const;
  /// The text of rank `root`, on every rank.
  std::string broadcast(const std::string& text, int root) const;

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  Unwinding unwinding_;
};

}  // namespace hilbertring

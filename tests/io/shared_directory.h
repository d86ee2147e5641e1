#pragma once

#include <mpi.h>

#include <cstdint>
#include <optional>
#include <string>

#include "core/index.h"
#include "tests/io/raw_case.h"

namespace hilbertring::test {

inline int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

inline int world_size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

/// Contiguous shares of the tokens, as equal as possible.
inline Range<SequenceIndex> shard_of(std::int64_t num_tokens, MPI_Comm comm) {
  int rank = 0, size = 1;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &size);
  return {SequenceIndex(num_tokens * rank / size), SequenceIndex(num_tokens * (rank + 1) / size)};
}

/// One temporary directory for all ranks of MPI_COMM_WORLD. Creation and destruction are collective.
class SharedDirectory {
 public:
  SharedDirectory() {
    if (world_rank() == 0) directory_.emplace();
    path_ = directory_ ? directory_->path() : "";
    path_.resize(4096);
    MPI_Bcast(path_.data(), 4096, MPI_CHAR, 0, MPI_COMM_WORLD);
    path_.resize(path_.find('\0'));
  }
  ~SharedDirectory() { MPI_Barrier(MPI_COMM_WORLD); }
  SharedDirectory(const SharedDirectory&) = delete;
  SharedDirectory& operator=(const SharedDirectory&) = delete;

  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  /// Seen by rank 0; empty on the others.
  std::vector<std::string> names() const { return directory_ ? directory_->names() : std::vector<std::string>(); }

 private:
  std::optional<TemporaryDirectory> directory_;
  std::string path_;
};

}  // namespace hilbertring::test

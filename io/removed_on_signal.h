#pragma once

#include <string>

namespace hilbertring {

/// While it exists, a signal that ends the process (SIGHUP, SIGINT, SIGTERM) removes the file first: launchers send one to the ranks that are left
/// when a rank has died. Signals that somebody handles or ignores when it is made are left alone.
class RemovedOnSignal {
 public:
  explicit RemovedOnSignal(std::string path);
  ~RemovedOnSignal();
  RemovedOnSignal(const RemovedOnSignal&) = delete;
  RemovedOnSignal& operator=(const RemovedOnSignal&) = delete;

  /// Removes the files of all that exist: before an end that unwinds nothing, such as MPI_Abort.
  static void remove_all() noexcept;

 private:
  const std::string path_;
};

}  // namespace hilbertring

#pragma once

namespace hilbertring {

/// While it exists, SIGTERM and SIGUSR1 do not end the process, but ask it to stop: batch systems send them before a job's time is over. One at a
/// time.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool is_asked() const;
};

}  // namespace hilbertring

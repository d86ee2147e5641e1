#pragma once

#include <cstdint>
#include <memory>

#include "ring/attention.h"
#include "ring/schedule.h"

namespace hilbertring {

/// How far a rank has come in a pass, in pairs of chunks, for whoever shows it.
class PassProgress {
 public:
  /// Without a callback nothing is counted.
  PassProgress(std::shared_ptr<const Schedule> schedule, Rank rank, ProgressCallback callback);

  /// Before a leg that begins at the lag. What a pass has to do is counted once, in its first leg here.
  void begin_leg(Pass pass, std::int64_t lag);
  /// The next leg goes on in the middle of a pass whose first legs were another program's.
  void resume() { is_resumed_ = true; }
  /// So many more pairs are done.
  void advance(Pass pass, std::int64_t num_pairs);

 private:
  std::int64_t num_pairs(Pass pass, LagRange lags) const;

  std::shared_ptr<const Schedule> schedule_;
  Rank rank_;
  ProgressCallback callback_;
  bool is_resumed_ = false;
  std::int64_t done_ = 0, total_ = 0;
};

}  // namespace hilbertring

#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace hilbertring {

/// One line on stderr that grows as work gets done, for a person at a terminal: `is_shown` is for rank 0, and nothing is drawn unless stderr is a
/// terminal. For one thread at a time.
class ProgressBar {
 public:
  ProgressBar(std::string label, bool is_shown);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Draws at most ten times a second.
  void update(std::int64_t done, std::int64_t total);
  /// A new label, for the next phase of the work.
  void relabel(std::string label);

 private:
  void clear();

  std::string label_;
  bool is_drawing_;
  bool has_drawn_ = false;
  std::chrono::steady_clock::time_point next_draw_;
};

}  // namespace hilbertring

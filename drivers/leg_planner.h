#pragma once

#include <cstdint>

namespace hilbertring {

/// Chooses how many lags the next leg has, so that it takes about so long: from the time of the last one, which all ranks must be told alike. Bits do
/// not depend on it.
class LegPlanner {
 public:
  explicit LegPlanner(double target_seconds) : target_seconds_(target_seconds) {}

  std::int64_t num_lags() const { return num_lags_; }
  /// The leg of so many lags took so long on the slowest rank.
  void note(std::int64_t num_lags, double seconds);

 private:
  /// A first leg is short, and legs grow at most so fast: lags need not take equally long.
  static constexpr std::int64_t kMostGrowth = 4;

  double target_seconds_;
  std::int64_t num_lags_ = 1;
};

}  // namespace hilbertring

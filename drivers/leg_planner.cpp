#include "drivers/leg_planner.h"

#include <algorithm>
#include <cmath>

namespace hilbertring {

void LegPlanner::note(std::int64_t num_lags, double seconds) {
  const double fitting = seconds > 0 ? target_seconds_ / seconds * static_cast<double>(num_lags) : static_cast<double>(kMostGrowth * num_lags);
  const auto most = static_cast<double>(kMostGrowth * num_lags_);
  num_lags_ = std::max<std::int64_t>(1, std::llround(std::floor(std::min(fitting, most))));
}

}  // namespace hilbertring

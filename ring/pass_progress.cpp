#include "ring/pass_progress.h"

#include <utility>

namespace hilbertring {

PassProgress::PassProgress(std::shared_ptr<const Schedule> schedule, Rank rank, ProgressCallback callback)
    : schedule_(std::move(schedule)), rank_(rank), callback_(std::move(callback)) {}

void PassProgress::begin_leg(Pass pass, std::int64_t lag) {
  if (!callback_ || (lag > 0 && !is_resumed_)) return;
  done_ = lag > 0 ? num_pairs(pass, {0, lag}) : 0;
  total_ = num_pairs(pass, {});
  is_resumed_ = false;
}

void PassProgress::advance(Pass pass, std::int64_t num_pairs) {
  done_ += num_pairs;
  if (callback_) callback_(pass, done_, total_);
}

std::int64_t PassProgress::num_pairs(Pass pass, LagRange lags) const {
  const Rotation rotation = schedule_->rotation(pass);
  std::size_t pairs = 0;
  for (std::int64_t i = 0; i < schedule_->num_slices(); ++i) {
    const Schedule& slice = schedule_->slice(i);
    pairs += slice.own_pairs_below(rank_, lags).size() + slice.own_pairs_above(rank_, lags).size();
    for (std::int64_t step = 1; step < schedule_->num_ranks(); ++step) {
      pairs += slice.visit_pairs(rotation, rank_, schedule_->owner_visiting(rotation, rank_, step), lags).size();
    }
  }
  return static_cast<std::int64_t>(pairs);
}

}  // namespace hilbertring

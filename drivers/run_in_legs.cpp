#include "drivers/run_in_legs.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "core/error.h"
#include "drivers/pass_totals.h"
#include "drivers/slab.h"
#include "ring/agreement.h"

namespace hilbertring {

namespace {

/// A leg ends before anybody who asked the run to stop loses patience, and often enough for the checkpoints.
constexpr double kMostSecondsOfLeg = 5;
constexpr double kLegsBetweenCheckpoints = 4;

double seconds_of_leg(const CheckpointPlan& plan) {
  return plan.seconds_between > 0 ? std::min(plan.seconds_between / kLegsBetweenCheckpoints, kMostSecondsOfLeg) : kMostSecondsOfLeg;
}

}  // namespace

RunInLegs::RunInLegs(Transport& transport, const RankTask& task, RingAttention& attention, RunTotals& totals)
    : transport_(transport),
      plan_(*task.checkpoints),
      problem_(task.schedule->problem()),
      attention_(attention),
      totals_(totals),
      planner_(seconds_of_leg(*task.checkpoints)) {}

RunPlace RunInLegs::begin() {
  if (!plan_.start) return {};
  const Checkpoint& start = *plan_.start;
  for (const TensorName name : state_names(start.place.pass)) load_tensor(attention_, *start.state, name);
  attention_.resume_at(start.place.pass, start.place.lag);
  totals_.forward = start.forward;
  totals_.backward = start.backward;
  return start.place;
}

void RunInLegs::run(Pass pass, std::int64_t first_lag) {
  PassTotals& totals = pass == Pass::kForward ? totals_.forward : totals_.backward;
  for (RunPlace place{pass, first_lag}; place.lag < attention_.num_lags();) {
    const std::int64_t end = std::min(place.lag + planner_.num_lags(), attention_.num_lags());
    const PassReport report = attention_.fold(pass, {place.lag, end});
    require_predicted_bytes(transport_, pass, report);
    const PassTotals leg = over_all_ranks(transport_, report);
    planner_.note(end - place.lag, leg.seconds);
    totals += leg;
    place.lag = end;
    if (place.lag == attention_.num_lags()) {
      // Behind the backward pass, or a forward pass alone, there is nothing left to go on with. Behind another forward pass the backward one is.
      if (pass == Pass::kBackward || !problem_.with_gradient) return;
      place = {Pass::kBackward, 0};
    }
    const bool is_due = plan_.seconds_between > 0 && since_last_save_.seconds() >= plan_.seconds_between;
    std::array<std::int64_t, 2> asked = {plan_.stop->is_asked() ? 1 : 0, is_due ? 1 : 0};
    transport_.all_reduce(std::span<std::int64_t>(asked), Reduction::kMax);
    if (asked[0] + asked[1] > 0) save(place);
    if (asked[0] > 0) {
      throw Error(ErrorKind::kStopped, "",
                  "stopped by a signal before lag " + std::to_string(place.lag) + " of the " + std::string(name_of(place.pass)) +
                      " pass; the state is in '" + plan_.store->newest_path() + "', run --resume goes on from it");
    }
    if (place.pass != pass) return;
  }
}

/// A state before the first lag of the backward pass has gradients, too, whatever they hold: the pass begins by clearing them.
void RunInLegs::save(const RunPlace& place) {
  const Stopwatch stopwatch;
  const auto create = [&] { plan_.shared_writer = plan_.store->create(place); };
  const auto complete = [&] { plan_.store->complete(*plan_.shared_writer, place, totals_.forward, totals_.backward); };
  const auto on_first_rank = [&](const auto& step) {
    agree(transport_, [&] {
      if (transport_.rank() == Rank(0)) step();
    });
  };
  const auto on_each_process = [&](const auto& step) { plan_.is_shared ? on_first_rank(step) : step(); };
  on_each_process(create);
  for (const TensorName name : state_names(place.pass)) store_tensor(attention_, name, arithmetic_type(problem_.type), *plan_.shared_writer);
  transport_.barrier();
  on_each_process(complete);
  on_first_rank([&] { plan_.store->make_newest(); });
  on_each_process([&] { plan_.shared_writer.reset(); });
  since_last_save_ = {};
  ++totals_.num_checkpoints;
  totals_.checkpoint_seconds += stopwatch.seconds();
}

}  // namespace hilbertring

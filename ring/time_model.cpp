#include "ring/time_model.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ring/parallel_steps.h"

namespace hilbertring {

namespace {

/// A rank asks for each of its P visits.
constexpr std::int64_t kMaxRanksLookedAt = 64;

/// Rows that visit a rank, and rows of its own that are away, by step: entry s, with empty ones at both ends (0 and P).
struct Journeys {
  std::vector<VisitRows> guests, own;

  Journeys(const Schedule& schedule, Pass pass, Rank rank)
      : guests(static_cast<std::size_t>(schedule.num_ranks() + 1)), own(static_cast<std::size_t>(schedule.num_ranks() + 1)) {
    std::ranges::copy(schedule.journey(schedule.rotation(pass), rank), own.begin() + 1);
    for (std::int64_t step = 1; step < schedule.num_ranks(); ++step) {
      guests[static_cast<std::size_t>(step)] = schedule.visit_rows(schedule.rotation(pass), rank, step);
    }
  }
  std::int64_t num_visits() const {
    return std::ranges::count_if(guests, [](const VisitRows& guest) { return guest.rows > 0; });
  }
};

class StageMaker {
 public:
  StageMaker(const Schedule& schedule, const FoldCounter& counter, Pass pass, Rank rank)
      : schedule_(schedule), counter_(counter), pass_(pass), rank_(rank), journeys_(schedule, pass, rank) {}

  std::vector<Stage> make() const {
    const auto num_ranks = static_cast<std::size_t>(schedule_.num_ranks());
    std::vector<Stage> stages(num_ranks + 1);
    for (std::size_t s = 0; s <= num_ranks; ++s) {
      Stage& stage = stages[s];
      stage.pairs = pairs(s);
      stage.has_fold = s > 0 && s < num_ranks ? journeys_.guests[s].rows > 0 : stage.pairs.total() > 0;
      if (s < num_ranks) stage.operands = operands(s + 1);
      if (s > 0 && pass_ == Pass::kBackward) stage.accumulators = accumulators(s);
    }
    return stages;
  }

 private:
  AllowedPairs pairs(std::size_t s) const {
    if (s == 0) return counter_.before(rank_);
    if (s == static_cast<std::size_t>(schedule_.num_ranks())) return counter_.after(rank_);
    return journeys_.guests[s].rows > 0 ? counter_.visit(pass_, rank_, static_cast<std::int64_t>(s)) : AllowedPairs{};
  }

  Exchange operands(std::size_t step) const {
    const Problem& problem = schedule_.problem();
    const std::int64_t row_bytes = problem.shape.batch * operand_row_bytes(problem, pass_, schedule_.rotation(pass_));
    return {.sent_bytes = journeys_.own[step].rows * row_bytes, .received_bytes = journeys_.guests[step].rows * row_bytes};
  }

  /// Sent: all of the last guest's, and the rank's own that set out now. Received: all of this guest's, and the rank's own that were away until now
  /// and are not wanted further on.
  Exchange accumulators(std::size_t step) const {
    const Problem& problem = schedule_.problem();
    const std::int64_t row_bytes = problem.shape.batch * accumulator_row_bytes(problem, schedule_.rotation(pass_));
    const VisitRows& leaving = journeys_.own[step];
    const VisitRows& returning = journeys_.own[step - 1];
    return {.sent_bytes = (journeys_.guests[step - 1].rows + leaving.rows - leaving.from_neighbour) * row_bytes,
            .received_bytes = (journeys_.guests[step].rows + returning.rows - returning.to_neighbour) * row_bytes};
  }

  const Schedule& schedule_;
  const FoldCounter& counter_;
  Pass pass_;
  Rank rank_;
  Journeys journeys_;
};

/// Puts times to the stages of one rank.
class Clock {
 public:
  Clock(const Schedule& schedule, Pass pass, const Rates& rates, Rank rank)
      : schedule_(schedule), pass_(pass), rates_(rates), rank_(rank), num_slices_(schedule.num_slices()) {}

  PassPrediction time(const std::vector<Stage>& stages) const {
    PassPrediction prediction{.slowest = rank_, .num_looked_at = 1};
    for (std::size_t s = 0; s < stages.size(); ++s) {
      const double compute = compute_seconds(stages[s]) + (s + 1 == stages.size() ? row_seconds() : 0);
      const double operands = seconds(stages[s].operands, operands_cross_nodes(static_cast<std::int64_t>(s) + 1));
      const double accumulators = seconds(stages[s].accumulators, schedule_.num_ranks() > rates_.ranks_per_node);
      const double stage = num_slices_ == 1 ? together(compute, operands) + accumulators : together(compute, operands + accumulators);
      prediction.stage_seconds.push_back(stage);
      prediction.seconds += stage;
      prediction.compute_seconds += compute;
      prediction.transfer_seconds += operands + accumulators;
      prediction.pairs_per_rank += static_cast<double>(stages[s].pairs.total());
    }
    return prediction;
  }

 private:
  double compute_seconds(const Stage& stage) const {
    return rates_.of(pass_).seconds(stage.pairs) + (stage.has_fold ? static_cast<double>(num_slices_) * rates_.of(pass_).seconds_per_fold : 0);
  }

  double row_seconds() const {
    const Shape& shape = schedule_.problem().shape;
    std::int64_t num_rows = 0;
    for (const Range<Position> span : schedule_.placement().spans(rank_)) num_rows += span.size();
    return static_cast<double>(num_rows * shape.batch * shape.heads) * rates_.of(pass_).seconds_per_row;
  }

  double seconds(const Exchange& exchange, bool crosses_nodes) const {
    if (exchange.is_empty()) return 0;
    if (!rates_.has_link()) throw usage_error("the rates have no link, but messages travel between ranks: calibrate on several ranks");
    const LinkRates& link = rates_.link(crosses_nodes);
    return static_cast<double>(std::max(exchange.sent_bytes, exchange.received_bytes)) / link.bytes_per_second +
           static_cast<double>(num_slices_) * link.seconds_per_message;
  }

  /// The slower of the two directions counts: it crosses if either does.
  bool operands_cross_nodes(std::int64_t step) const {
    const auto node = [&](Rank rank) { return rank.value / rates_.ranks_per_node; };
    const Rotation rotation = schedule_.rotation(pass_);
    return node(schedule_.owner_visiting(rotation, rank_, step)) != node(rank_) || node(schedule_.visited_by(rotation, rank_, step)) != node(rank_);
  }

  double together(double a, double b) const { return std::max(a, b) + (1 - rates_.overlap) * std::min(a, b); }

  const Schedule& schedule_;
  Pass pass_;
  const Rates& rates_;
  Rank rank_;
  std::int64_t num_slices_;
};

/// Of several ranks: the slowest one's times, each stage's longest.
PassPrediction combined(const std::vector<PassPrediction>& of_ranks) {
  PassPrediction all = *std::ranges::max_element(of_ranks, {}, &PassPrediction::seconds);
  all.num_looked_at = static_cast<std::int64_t>(of_ranks.size());
  all.pairs_per_rank = 0;
  for (const PassPrediction& of_rank : of_ranks) {
    all.pairs_per_rank += of_rank.pairs_per_rank / static_cast<double>(of_ranks.size());
    for (std::size_t s = 0; s < all.stage_seconds.size(); ++s) all.stage_seconds[s] = std::max(all.stage_seconds[s], of_rank.stage_seconds[s]);
  }
  return all;
}

}  // namespace

std::vector<Stage> stages_of(const Schedule& schedule, const FoldCounter& counter, Pass pass, Rank rank) {
  return StageMaker(schedule, counter, pass, rank).make();
}

std::optional<double> PassPrediction::hidden_share() const {
  if (transfer_seconds == 0) return std::nullopt;
  return 1 - (seconds - compute_seconds) / transfer_seconds;
}

std::optional<PassPrediction> predict_time(const Schedule& schedule, Pass pass, const Rates& rates) {
  const std::vector<Rank> ranks = ranks_at_even_distances(schedule.num_ranks(), kMaxRanksLookedAt);
  const FoldCounter counter(schedule);
  // Each rank folds its own rows, too.
  std::int64_t num_visits = static_cast<std::int64_t>(ranks.size());
  for (const Rank rank : ranks) num_visits += counter.needs_times() ? Journeys(schedule, pass, rank).num_visits() : 0;
  if (!counter.can_count_visits(num_visits)) return std::nullopt;
  std::vector<PassPrediction> of_ranks(ranks.size());
  for_each_in_parallel(
      ranks.size(), [&](std::size_t i) { of_ranks[i] = Clock(schedule, pass, rates, ranks[i]).time(stages_of(schedule, counter, pass, ranks[i])); });
  return combined(of_ranks);
}

}  // namespace hilbertring

#include "drivers/work.h"

#include <algorithm>

#include "core/pattern.h"

namespace hilbertring {

namespace {

/// Times that may be sorted for all ranks together: a few seconds.
constexpr std::int64_t kMaxSortedTimes = std::int64_t{1} << 27;

/// All keys that queries of the range may attend to in any branch.
Range<Position> key_hull(const Pattern& pattern, Range<Position> queries) {
  Range<Position> hull = pattern.branch(0).key_hull(queries);
  for (std::int64_t index = 1; index < pattern.num_branches(); ++index) {
    const Range<Position> of_branch = pattern.branch(index).key_hull(queries);
    hull = {std::min(hull.begin, of_branch.begin), std::max(hull.end, of_branch.end)};
  }
  return hull;
}

std::vector<std::int64_t> times_of(const Order& order, Range<Position> range) {
  std::vector<std::int64_t> times(static_cast<std::size_t>(range.size()));
  order.fill(range, times);
  return times;
}

class WorkCounter {
 public:
  explicit WorkCounter(const Schedule& schedule) : schedule_(schedule), pattern_(counted_specification(), schedule.problem().shape) {}

  bool is_feasible() const {
    if (pattern_.causal() != Causal::kSequence) return true;
    std::int64_t num_times = 0;
    for (Rank rank(0); rank < Rank(schedule_.num_ranks()) && num_times <= kMaxSortedTimes; ++rank) {
      for (const Range<Position> queries : schedule_.placement().spans(rank))
        num_times += key_hull(pattern_, queries).size() * pattern_.num_branches();
    }
    return num_times <= kMaxSortedTimes;
  }

  double count(Rank rank) const {
    double pairs = 0;
    for (const Range<Position> queries : schedule_.placement().spans(rank)) {
      if (!queries.is_empty()) pairs += static_cast<double>(count(queries));
    }
    return pairs * static_cast<double>(schedule_.problem().shape.batch);
  }

 private:
  /// In sequence order a token's position is its sequence index, and positions need no tables.
  Specification counted_specification() const {
    Specification specification = schedule_.problem().specification;
    const bool is_in_sequence = specification.curve == Curve::kIdentity;
    if (is_in_sequence && specification.causal == Causal::kSequence) specification.causal = Causal::kPosition;
    return specification;
  }

  std::int64_t count(Range<Position> queries) const {
    const Range<Position> keys = key_hull(pattern_, queries);
    if (pattern_.causal() != Causal::kSequence) return count_allowed_pairs(pattern_, queries, keys, {}, {});
    return count_allowed_pairs(pattern_, queries, keys, times_of(*schedule_.orders().queries, queries), times_of(*schedule_.orders().keys, keys));
  }

  const Schedule& schedule_;
  Pattern pattern_;
};

}  // namespace

std::optional<std::vector<double>> work_per_rank(const Schedule& schedule) {
  const WorkCounter counter(schedule);
  if (!counter.is_feasible()) return std::nullopt;
  std::vector<double> work(static_cast<std::size_t>(schedule.num_ranks()));
#pragma omp parallel for schedule(dynamic)
  for (std::size_t rank = 0; rank < work.size(); ++rank) work[rank] = counter.count(Rank(static_cast<std::int64_t>(rank)));
  return work;
}

}  // namespace hilbertring

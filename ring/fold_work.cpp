#include "ring/fold_work.h"

#include <algorithm>

#include "core/allowed_pairs.h"
#include "ring/parallel_steps.h"

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

/// In sequence order a token's position is its sequence index, and positions need no tables.
Specification counted_specification(Specification specification) {
  const bool is_in_sequence = specification.curve == Curve::kIdentity;
  if (is_in_sequence && specification.causal == Causal::kSequence) specification.causal = Causal::kPosition;
  return specification;
}

/// Adds a range to disjoint ones; where it touches one of them, that one grows.
void append_range(std::vector<Range<Position>>& ranges, Range<Position> added) {
  for (Range<Position>& range : ranges) {
    if (range.end == added.begin) return void(range.end = added.end);
    if (added.end == range.begin) return void(range.begin = added.begin);
  }
  ranges.push_back(added);
}

AllowedPairs times_batch(AllowedPairs pairs, std::int64_t batch) {
  return {.whole = pairs.whole * batch, .cut = pairs.cut * batch, .dilated = pairs.dilated * batch};
}

AllowedPairs half_of(const AllowedPairs& pairs) { return {.whole = pairs.whole / 2, .cut = pairs.cut / 2, .dilated = pairs.dilated / 2}; }

AllowedPairs difference(const AllowedPairs& a, const AllowedPairs& b) {
  return {.whole = a.whole - b.whole, .cut = a.cut - b.cut, .dilated = a.dilated - b.dilated};
}

}  // namespace

FoldCounter::FoldCounter(const Schedule& schedule)
    : schedule_(schedule), pattern_(counted_specification(schedule.problem().specification), schedule.problem().shape) {}

bool FoldCounter::can_count_passes() const {
  if (!needs_times()) return true;
  std::int64_t num_times = 0;
  for (Rank rank(0); rank < Rank(schedule_.num_ranks()) && num_times <= kMaxSortedTimes; ++rank) {
    for (const Range<Position> queries : schedule_.placement().spans(rank)) num_times += key_hull(pattern_, queries).size() * pattern_.num_branches();
  }
  return num_times <= kMaxSortedTimes;
}

bool FoldCounter::can_count_visits(std::int64_t num_visits) const {
  return !needs_times() || num_visits <= kMaxSortedTimes / (2 * schedule_.placement().max_rows() * pattern_.num_branches());
}

AllowedPairs FoldCounter::whole_pass(Rank rank) const {
  AllowedPairs pairs;
  for (const Range<Position> queries : schedule_.placement().spans(rank)) {
    if (!queries.is_empty()) pairs += count(queries, key_hull(pattern_, queries));
  }
  return times_batch(pairs, schedule_.problem().shape.batch);
}

AllowedPairs FoldCounter::own(Rank rank) const {
  const std::vector<Range<Position>> spans = schedule_.placement().spans(rank);
  return times_batch(count(spans, spans), schedule_.problem().shape.batch);
}

AllowedPairs FoldCounter::before(Rank rank) const {
  if (needs_times()) return half_of(own(rank));
  const ChunkPlacement& placement = schedule_.placement();
  const Range<Unit> units = placement.units(rank);
  std::vector<Range<Position>> keys;  // of the units up to the query's
  AllowedPairs pairs;
  for (Unit unit = units.begin; unit < units.end; ++unit) {
    const std::vector<Range<Position>> queries = positions_of(unit);
    for (const Range<Position> range : queries) append_range(keys, range);
    pairs += count(queries, keys);
  }
  return times_batch(pairs, schedule_.problem().shape.batch);
}

AllowedPairs FoldCounter::after(Rank rank) const {
  if (needs_times()) return difference(own(rank), half_of(own(rank)));
  const ChunkPlacement& placement = schedule_.placement();
  const Range<Unit> units = placement.units(rank);
  std::vector<Range<Position>> keys;  // of the units above the query's
  AllowedPairs pairs;
  for (Unit unit = units.end; unit > units.begin;) {
    unit = unit - 1;
    const std::vector<Range<Position>> queries = positions_of(unit);
    pairs += count(queries, keys);
    for (const Range<Position> range : queries) append_range(keys, range);
  }
  return times_batch(pairs, schedule_.problem().shape.batch);
}

std::vector<Range<Position>> FoldCounter::positions_of(Unit unit) const {
  std::vector<Range<Position>> ranges;
  for (const Chunk chunk : schedule_.placement().chunks(unit)) ranges.push_back(schedule_.placement().positions(chunk));
  return ranges;
}

AllowedPairs FoldCounter::visit(Pass pass, Rank visitor, std::int64_t step) const {
  const Rotation rotation = schedule_.rotation(pass);
  const std::vector<Range<Position>> resident = schedule_.placement().spans(visitor);
  const std::vector<Range<Position>> visiting = schedule_.placement().spans(schedule_.owner_visiting(rotation, visitor, step));
  const AllowedPairs pairs = rotation == Rotation::kKvUp ? count(resident, visiting) : count(visiting, resident);
  return times_batch(pairs, schedule_.problem().shape.batch);
}

AllowedPairs FoldCounter::count(std::span<const Range<Position>> queries, std::span<const Range<Position>> keys) const {
  AllowedPairs pairs;
  for (const Range<Position>& of_queries : queries) {
    for (const Range<Position>& of_keys : keys) pairs += count(of_queries, of_keys);
  }
  return pairs;
}

AllowedPairs FoldCounter::count(Range<Position> queries, Range<Position> keys) const {
  if (!needs_times()) return count_allowed_pairs_by_kind(pattern_, queries, keys, {}, {});
  const Orders& orders = schedule_.orders();
  return count_allowed_pairs_by_kind(pattern_, queries, keys, times_of(*orders.queries, queries), times_of(*orders.keys, keys));
}

std::optional<std::vector<double>> work_per_rank(const Schedule& schedule) {
  const FoldCounter counter(schedule);
  if (!counter.can_count_passes()) return std::nullopt;
  std::vector<double> work(static_cast<std::size_t>(schedule.num_ranks()));
  for_each_in_parallel(
      work.size(), [&](std::size_t rank) { work[rank] = static_cast<double>(counter.whole_pass(Rank(static_cast<std::int64_t>(rank))).total()); });
  return work;
}

std::vector<Rank> ranks_at_even_distances(std::int64_t num_ranks, std::int64_t max_count) {
  const std::int64_t count = std::min(num_ranks, max_count);
  std::vector<Rank> ranks;
  for (std::int64_t i = 0; i < count; ++i) ranks.emplace_back(count == 1 ? 0 : i * (num_ranks - 1) / (count - 1));
  return ranks;
}

}  // namespace hilbertring

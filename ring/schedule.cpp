#include "ring/schedule.h"

#include <algorithm>
#include <utility>

namespace hilbertring {

namespace {

Side travelling_side(Rotation rotation) { return rotation == Rotation::kKvUp ? Side::kKeys : Side::kQueries; }

std::int64_t modulo(std::int64_t a, std::int64_t n) { return ((a % n) + n) % n; }

RowSet united(const RowSet& a, const RowSet& b) {
  RowSet both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

std::int64_t count_shared(const RowSet& a, const RowSet& b) {
  if (a.empty() || b.empty()) return 0;
  return a == b ? count_distinct(a) : count_distinct(a) + count_distinct(b) - count_distinct(united(a, b));
}

/// Neighbouring steps in which the same rows travel.
struct EqualSteps {
  std::int64_t first;  ///< up to the next entry's first
  RowSet rows;
};

/// Finds where, from step to step, the rows of one owner and head class change. Where needs are convex, equal ends mean that nothing changes between.
class ChangeFinder {
 public:
  ChangeFinder(const Schedule& schedule, Rotation rotation, std::int64_t head_class, Rank owner)
      : schedule_(schedule), rotation_(rotation), head_class_(head_class), owner_(owner) {}

  /// Steps 1 .. P-1, at least one.
  std::vector<EqualSteps> find() {
    const std::int64_t num_ranks = schedule_.num_ranks();
    changes_ = {{1, rows(1)}};
    // Visitors pass the end of the ring once: convexity holds on either side of it.
    const std::int64_t last_before_end = rotation_ == Rotation::kKvUp ? num_ranks - 1 - owner_.value : owner_.value;
    if (last_before_end >= 1) search(1, last_before_end, rows(last_before_end));
    const std::int64_t after = std::max<std::int64_t>(last_before_end, 0) + 1;
    if (after < num_ranks) {
      note(after, rows(after));
      search(after, num_ranks - 1, rows(num_ranks - 1));
    }
    return std::move(changes_);
  }

 private:
  RowSet rows(std::int64_t step) const {
    return schedule_.needs().rows(travelling_side(rotation_), head_class_, owner_, schedule_.visited_by(rotation_, owner_, step));
  }
  void note(std::int64_t step, RowSet rows) {
    if (rows != changes_.back().rows) changes_.push_back({step, std::move(rows)});
  }
  /// Notes the changes in (begin, end]; those up to `begin` have been noted.
  void search(std::int64_t begin, std::int64_t end, RowSet rows_at_end) {
    if (begin == end || (schedule_.needs().is_convex() && rows_at_end == changes_.back().rows)) return;
    if (end == begin + 1) return note(end, std::move(rows_at_end));
    const std::int64_t middle = begin + (end - begin) / 2;
    search(begin, middle, rows(middle));
    search(middle, end, std::move(rows_at_end));
  }

  const Schedule& schedule_;
  Rotation rotation_;
  std::int64_t head_class_;
  Rank owner_;
  std::vector<EqualSteps> changes_;
};

}  // namespace

std::int64_t operand_row_bytes(const Problem& problem, Pass pass, Rotation rotation) {
  const std::int64_t two_rows = 2 * problem.shape.head_dim * size_bytes(problem.type);
  const bool with_scalars = pass == Pass::kBackward && rotation == Rotation::kQueryDown;
  return two_rows + (with_scalars ? 2 * size_bytes(arithmetic_type(problem.type)) : 0);
}

std::int64_t accumulator_row_bytes(const Problem& problem, Rotation rotation) {
  return (rotation == Rotation::kKvUp ? 2 : 1) * problem.shape.head_dim * size_bytes(arithmetic_type(problem.type));
}

namespace {

Problem sliced(Problem problem, const Slice& slice) {
  problem.shape = slice.shape_in(problem.shape);
  return problem;
}

}  // namespace

Schedule::Schedule(const Problem& problem, Orders orders, std::int64_t num_ranks)
    : problem_((problem.validate(num_ranks), problem)),
      orders_(std::move(orders)),
      pattern_(problem.specification, problem.shape),
      placement_(problem.shape.tokens, problem.specification.chunk_for(problem.shape), problem.specification.placement, num_ranks),
      needs_(pattern_, orders_, placement_) {
  kv_steps_ = sweep(Rotation::kKvUp);
  if (problem_.with_gradient) choose_backward_rotation();
  const std::vector<Slice> extents = cut_in_two(problem_.shape);
  extent_ = {.first_batch = 0, .num_batch = problem_.shape.batch, .first_kv_head = 0, .num_kv_heads = problem_.shape.kv_heads};
  if (num_ranks == 1 || extents.size() == 1) return;
  for (const Slice& extent : extents) slices_.push_back(std::unique_ptr<const Schedule>(new Schedule(*this, extent)));
}

Schedule::Schedule(const Schedule& whole, const Slice& extent)
    : problem_(sliced(whole.problem_, extent)),
      orders_(whole.orders_),
      pattern_(problem_.specification, whole.problem_.shape, problem_.shape, extent.first_kv_head * problem_.shape.heads_per_kv_head()),
      placement_(whole.placement_),
      needs_(pattern_, placement_, whole.needs_),
      backward_rotation_(whole.backward_rotation_),
      extent_(extent) {}

void Schedule::choose_backward_rotation() {
  query_steps_ = sweep(Rotation::kQueryDown);
  const bool queries_are_fewer = total_bytes(Pass::kBackward, Rotation::kQueryDown) < total_bytes(Pass::kBackward, Rotation::kKvUp);
  backward_rotation_ = problem_.backward_rotation.value_or(queries_are_fewer ? Rotation::kQueryDown : Rotation::kKvUp);
}

Rank Schedule::owner_visiting(Rotation rotation, Rank visitor, std::int64_t step) const {
  return Rank(modulo(visitor.value + (rotation == Rotation::kKvUp ? -step : step), num_ranks()));
}

Rank Schedule::visited_by(Rotation rotation, Rank owner, std::int64_t step) const {
  return Rank(modulo(owner.value + (rotation == Rotation::kKvUp ? step : -step), num_ranks()));
}

VisitRows Schedule::visit_rows(Rotation rotation, Rank visitor, std::int64_t step) const {
  const Side side = travelling_side(rotation);
  const Rank owner = owner_visiting(rotation, visitor, step);
  VisitRows visit;
  for (std::int64_t c = 0; c < needs_.num_classes(side); ++c) {
    const auto rows_in = [&](std::int64_t s) {
      return s < 1 || s >= num_ranks() ? RowSet{} : needs_.rows(side, c, owner, visited_by(rotation, owner, s));
    };
    const RowSet rows = rows_in(step);
    const std::int64_t size = needs_.class_size(side, c);
    visit.rows += count_distinct(rows) * size;
    visit.from_neighbour += count_shared(rows, rows_in(step - 1)) * size;
    visit.to_neighbour += count_shared(rows, rows_in(step + 1)) * size;
  }
  return visit;
}

std::vector<VisitRows> Schedule::journey(Rotation rotation, Rank owner) const {
  const Side side = travelling_side(rotation);
  std::vector<VisitRows> visits(static_cast<std::size_t>(num_ranks() - 1));
  if (visits.empty()) return visits;
  for (std::int64_t c = 0; c < needs_.num_classes(side); ++c) {
    const std::int64_t size = needs_.class_size(side, c);
    const std::vector<EqualSteps> changes = ChangeFinder(*this, rotation, c, owner).find();
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const std::int64_t end = i + 1 < changes.size() ? changes[i + 1].first : num_ranks();
      const std::int64_t rows = count_distinct(changes[i].rows) * size;
      std::int64_t shared = i > 0 ? count_shared(changes[i - 1].rows, changes[i].rows) * size : 0;
      for (auto at = static_cast<std::size_t>(changes[i].first - 1); at < static_cast<std::size_t>(end - 1); ++at) {
        visits[at].rows += rows;
        visits[at].from_neighbour += shared;
        if (at > 0) visits[at - 1].to_neighbour += shared;
        shared = rows;
      }
    }
  }
  return visits;
}

void Schedule::add_journey(const std::vector<VisitRows>& visits, Sweep& steps) {
  for (std::size_t i = 0; i < visits.size(); ++i) {
    steps[i].num_visits += visits[i].rows > 0 ? 1 : 0;
    steps[i].total.rows += visits[i].rows;
    steps[i].total.from_neighbour += visits[i].from_neighbour;
    steps[i].total.to_neighbour += visits[i].to_neighbour;
    steps[i].max_rows = std::max(steps[i].max_rows, visits[i].rows);
  }
}

Schedule::Sweep Schedule::sweep(Rotation rotation) const {
  const auto num_steps = static_cast<std::size_t>(num_ranks() - 1);
  Sweep sum(num_steps);
#pragma omp parallel if (num_ranks() > 64)
  {
    Sweep mine(num_steps);
#pragma omp for schedule(dynamic, 16) nowait
    for (std::int64_t owner = 0; owner < num_ranks(); ++owner) add_journey(journey(rotation, Rank(owner)), mine);
#pragma omp critical
    for (std::size_t i = 0; i < num_steps; ++i) {
      sum[i].num_visits += mine[i].num_visits;
      sum[i].total.rows += mine[i].total.rows;
      sum[i].total.from_neighbour += mine[i].total.from_neighbour;
      sum[i].total.to_neighbour += mine[i].total.to_neighbour;
      sum[i].max_rows = std::max(sum[i].max_rows, mine[i].max_rows);
    }
  }
  return sum;
}

StepTraffic Schedule::bytes_of(Pass pass, Rotation rotation, const VisitRows& visit) const {
  const std::int64_t batch = problem_.shape.batch;
  StepTraffic traffic;
  traffic.operand_bytes = batch * visit.rows * operand_row_bytes(problem_, pass, rotation);
  if (pass == Pass::kForward) return traffic;
  traffic.accumulator_bytes = batch * visit.rows * accumulator_row_bytes(problem_, rotation);
  traffic.homecoming_bytes = batch * (visit.rows - visit.to_neighbour) * accumulator_row_bytes(problem_, rotation);
  return traffic;
}

StepTraffic Schedule::traffic(Pass pass, Rank visitor, std::int64_t step) const {
  return bytes_of(pass, rotation(pass), visit_rows(rotation(pass), visitor, step));
}

std::int64_t Schedule::total_bytes(Pass pass, Rotation rotation) const {
  std::int64_t bytes = 0;
  for (const StepRows& step : steps(rotation)) bytes += bytes_of(pass, rotation, step.total).total();
  return bytes;
}

std::int64_t Schedule::total_bytes(Pass pass) const { return total_bytes(pass, rotation(pass)); }

std::int64_t Schedule::dense_ring_bytes(Pass pass) const {
  const Rotation direction = rotation(pass);
  const Shape& shape = problem_.shape;
  const std::int64_t rows = shape.tokens * (direction == Rotation::kKvUp ? shape.kv_heads : shape.heads);
  VisitRows all{rows * (num_ranks() - 1), 0, rows * std::max<std::int64_t>(num_ranks() - 2, 0)};
  return bytes_of(pass, direction, all).total();
}

std::int64_t Schedule::sent_bytes(Pass pass, Rank k, const Leg& leg) const {
  const Rotation direction = rotation(pass);
  const std::int64_t batch = problem_.shape.batch;
  const std::int64_t accumulator = pass == Pass::kBackward ? batch * accumulator_row_bytes(problem_, direction) : 0;
  std::int64_t bytes = 0;
  const std::vector<VisitRows> own = journey(direction, k);
  for (std::int64_t step = leg.first_step; step < leg.end_step; ++step) {
    const VisitRows& mine = own[static_cast<std::size_t>(step - 1)];
    const std::int64_t from_neighbour = step == leg.first_step ? 0 : mine.from_neighbour;
    bytes += batch * mine.rows * operand_row_bytes(problem_, pass, direction) + (mine.rows - from_neighbour) * accumulator;
    // Everything that visits leaves again: to the neighbour or home.
    if (pass == Pass::kBackward) bytes += visit_rows(direction, k, step).rows * accumulator;
  }
  return bytes;
}

std::int64_t Schedule::lag(Unit queries, Unit keys) const { return modulo(queries.value - keys.value, num_lags()); }

/// Whether queries of one rank and keys of another make a pair of units with one of the lags.
bool Schedule::has_lag(Rank queries, Rank keys, LagRange lags) const {
  const Range<Unit> u = placement_.units(queries), v = placement_.units(keys);
  const std::int64_t count = u.size() + v.size() - 1;  // u.begin - (v.end - 1), ..., (u.end - 1) - v.begin
  if (count >= num_lags()) return true;
  const std::int64_t first = modulo(u.begin.value - v.end.value + 1, num_lags());
  const auto meets = [&](std::int64_t begin) { return begin < lags.end && lags.begin < begin + count; };
  return meets(first) || meets(first - num_lags());
}

/// In step s queries of rank k + s meet keys of rank k, whichever side travels.
bool Schedule::is_step_of(std::int64_t step, LagRange lags) const {
  for (std::int64_t keys = 0; keys < num_ranks(); ++keys) {
    if (has_lag(Rank(modulo(keys + step, num_ranks())), Rank(keys), lags)) return true;
  }
  return false;
}

Leg Schedule::leg(LagRange lags) const {
  Leg leg{.lags = lags, .first_step = 1, .end_step = num_ranks()};
  if (lags.begin == 0 && lags.end >= num_lags()) return leg;
  while (leg.first_step < leg.end_step && !is_step_of(leg.first_step, lags)) ++leg.first_step;
  while (leg.end_step > leg.first_step && !is_step_of(leg.end_step - 1, lags)) --leg.end_step;
  return leg;
}

void Schedule::append_pairs(Rank query_rank, Chunk queries, Rank key_rank, Unit keys, std::vector<ChunkPair>& pairs) const {
  for (const Chunk c : placement_.chunks(keys)) {
    if (needs_.is_needed(queries, c)) pairs.push_back({placement_.rows(query_rank, queries), placement_.rows(key_rank, c)});
  }
}

std::vector<ChunkPair> Schedule::own_pairs_below(Rank k, LagRange lags) const {
  std::vector<ChunkPair> pairs;
  const Range<Unit> units = placement_.units(k);
  for (Unit u = units.begin; u < units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = u; v >= units.begin; v = v - 1) {
        if (lags.contains(lag(u, v))) append_pairs(k, queries, k, v, pairs);
      }
    }
  }
  return pairs;
}

std::vector<ChunkPair> Schedule::own_pairs_above(Rank k, LagRange lags) const {
  std::vector<ChunkPair> pairs;
  const Range<Unit> units = placement_.units(k);
  for (Unit u = units.begin; u < units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = units.end - 1; v > u; v = v - 1) {
        if (lags.contains(lag(u, v))) append_pairs(k, queries, k, v, pairs);
      }
    }
  }
  return pairs;
}

std::vector<ChunkPair> Schedule::visit_pairs(Rotation rotation, Rank visitor, Rank owner, LagRange lags) const {
  const Rank query_rank = rotation == Rotation::kKvUp ? visitor : owner;
  const Rank key_rank = rotation == Rotation::kKvUp ? owner : visitor;
  const Range<Unit> query_units = placement_.units(query_rank);
  const Range<Unit> key_units = placement_.units(key_rank);
  std::vector<ChunkPair> pairs;
  for (Unit u = query_units.begin; u < query_units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = key_units.end - 1; v >= key_units.begin; v = v - 1) {
        if (lags.contains(lag(u, v))) append_pairs(query_rank, queries, key_rank, v, pairs);
      }
    }
  }
  return pairs;
}

}  // namespace hilbertring

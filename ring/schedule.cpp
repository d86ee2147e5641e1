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

/// The rows of one owner and head class, visit after visit. Neighbouring visits mostly need the same rows, so counting is done only when they change.
class VisitCounter {
 public:
  VisitCounter(const Needs& needs, Side side, std::int64_t head_class, Rank owner)
      : needs_(needs), side_(side), head_class_(head_class), owner_(owner) {}

  /// Moves to the next visitor; returns the number of its rows, and how many of them the visitor before had as well.
  std::pair<std::int64_t, std::int64_t> next(Rank visitor) {
    RowSet rows = needs_.rows(side_, head_class_, owner_, visitor);
    if (rows == rows_) return {count_, count_};
    const std::int64_t count = count_distinct(rows);
    const std::int64_t shared = count == 0 || count_ == 0 ? 0 : count + count_ - count_distinct(united(rows, rows_));
    rows_ = std::move(rows);
    count_ = count;
    return {count, shared};
  }

 private:
  const Needs& needs_;
  Side side_;
  std::int64_t head_class_;
  Rank owner_;
  RowSet rows_;
  std::int64_t count_ = 0;
};

}  // namespace

std::string_view to_string(Rotation rotation) { return rotation == Rotation::kKvUp ? "KV up" : "Q down"; }

std::int64_t operand_row_bytes(const Problem& problem, Pass pass, Rotation rotation) {
  const std::int64_t two_rows = 2 * problem.shape.head_dim * size_bytes(problem.type);
  const bool with_scalars = pass == Pass::kBackward && rotation == Rotation::kQueryDown;
  return two_rows + (with_scalars ? 2 * size_bytes(arithmetic_type(problem.type)) : 0);
}

std::int64_t accumulator_row_bytes(const Problem& problem, Rotation rotation) {
  return (rotation == Rotation::kKvUp ? 2 : 1) * problem.shape.head_dim * size_bytes(arithmetic_type(problem.type));
}

Schedule::Schedule(const Problem& problem, Orders orders, std::int64_t num_ranks)
    : problem_((problem.validate(num_ranks), problem)),
      orders_(std::move(orders)),
      pattern_(problem.specification, problem.shape),
      placement_(problem.shape.tokens, problem.specification.chunk_for(problem.shape), problem.specification.placement, num_ranks),
      needs_(pattern_, orders_, placement_) {
  kv_steps_ = sweep(Rotation::kKvUp);
  if (!problem_.with_gradient) return;
  query_steps_ = sweep(Rotation::kQueryDown);
  const bool queries_are_fewer = total_bytes(Pass::kBackward, Rotation::kQueryDown) < total_bytes(Pass::kBackward, Rotation::kKvUp);
  backward_rotation_ = queries_are_fewer ? Rotation::kQueryDown : Rotation::kKvUp;
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
    VisitCounter counter(needs_, side, c, owner);
    if (step > 1) counter.next(visited_by(rotation, owner, step - 1));
    const auto [rows, from_neighbour] = counter.next(visitor);
    const std::int64_t to_neighbour = step + 1 < num_ranks() ? counter.next(visited_by(rotation, owner, step + 1)).second : 0;
    const std::int64_t size = needs_.class_size(side, c);
    visit.rows += rows * size;
    visit.from_neighbour += (step > 1 ? from_neighbour : 0) * size;
    visit.to_neighbour += to_neighbour * size;
  }
  return visit;
}

void Schedule::sweep_owner(Rotation rotation, Rank owner, Sweep& steps) const {
  const Side side = travelling_side(rotation);
  std::vector<VisitRows> visits(steps.size());
  for (std::int64_t c = 0; c < needs_.num_classes(side); ++c) {
    VisitCounter counter(needs_, side, c, owner);
    const std::int64_t size = needs_.class_size(side, c);
    for (std::size_t i = 0; i < visits.size(); ++i) {
      const auto [rows, shared] = counter.next(visited_by(rotation, owner, static_cast<std::int64_t>(i) + 1));
      visits[i].rows += rows * size;
      visits[i].from_neighbour += shared * size;
      if (i > 0) visits[i - 1].to_neighbour += shared * size;
    }
  }
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
    for (std::int64_t owner = 0; owner < num_ranks(); ++owner) sweep_owner(rotation, Rank(owner), mine);
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

std::int64_t Schedule::sent_bytes(Pass pass, Rank k) const {
  const Rotation direction = rotation(pass);
  const std::int64_t batch = problem_.shape.batch;
  const std::int64_t accumulator = pass == Pass::kBackward ? batch * accumulator_row_bytes(problem_, direction) : 0;
  std::int64_t bytes = 0;
  for (std::int64_t step = 1; step < num_ranks(); ++step) {
    const VisitRows mine = visit_rows(direction, visited_by(direction, k, step), step);
    bytes += batch * mine.rows * operand_row_bytes(problem_, pass, direction) + (mine.rows - mine.from_neighbour) * accumulator;
    // Everything that visits leaves again: to the neighbour or home.
    if (pass == Pass::kBackward) bytes += visit_rows(direction, k, step).rows * accumulator;
  }
  return bytes;
}

void Schedule::append_pairs(Rank query_rank, Chunk queries, Rank key_rank, Unit keys, std::vector<ChunkPair>& pairs) const {
  for (const Chunk c : placement_.chunks(keys)) {
    if (needs_.is_needed(queries, c)) pairs.push_back({placement_.rows(query_rank, queries), placement_.rows(key_rank, c)});
  }
}

std::vector<ChunkPair> Schedule::own_pairs_below(Rank k) const {
  std::vector<ChunkPair> pairs;
  const Range<Unit> units = placement_.units(k);
  for (Unit u = units.begin; u < units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = u; v >= units.begin; v = v - 1) append_pairs(k, queries, k, v, pairs);
    }
  }
  return pairs;
}

std::vector<ChunkPair> Schedule::own_pairs_above(Rank k) const {
  std::vector<ChunkPair> pairs;
  const Range<Unit> units = placement_.units(k);
  for (Unit u = units.begin; u < units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = units.end - 1; v > u; v = v - 1) append_pairs(k, queries, k, v, pairs);
    }
  }
  return pairs;
}

std::vector<ChunkPair> Schedule::visit_pairs(Rotation rotation, Rank visitor, Rank owner) const {
  const Rank query_rank = rotation == Rotation::kKvUp ? visitor : owner;
  const Rank key_rank = rotation == Rotation::kKvUp ? owner : visitor;
  const Range<Unit> query_units = placement_.units(query_rank);
  const Range<Unit> key_units = placement_.units(key_rank);
  std::vector<ChunkPair> pairs;
  for (Unit u = query_units.begin; u < query_units.end; ++u) {
    for (const Chunk queries : placement_.chunks(u)) {
      for (Unit v = key_units.end - 1; v >= key_units.begin; v = v - 1) append_pairs(query_rank, queries, key_rank, v, pairs);
    }
  }
  return pairs;
}

}  // namespace hilbertring

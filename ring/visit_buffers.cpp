#include "ring/visit_buffers.h"

#include <algorithm>

namespace hilbertring {

namespace {

/// Keeps the largest message of a kind.
class LargestMessage {
 public:
  LargestMessage(std::int64_t row_bytes, std::int64_t table_bytes, bool whole_goes_straight)
      : row_bytes_(row_bytes), table_bytes_(table_bytes), whole_goes_straight_(whole_goes_straight) {}

  void note(ParcelBytes& largest, std::int64_t rows, std::int64_t all_rows) const {
    if (rows == 0 || row_bytes_ == 0 || (rows == all_rows && whole_goes_straight_)) return;
    largest.message = std::max(largest.message, rows * row_bytes_);
    largest.table = table_bytes_;
  }

 private:
  std::int64_t row_bytes_;
  std::int64_t table_bytes_;
  bool whole_goes_straight_;
};

/// Makes `sizes` large enough for one pass too.
void cover_pass(VisitBufferSizes& sizes, const Schedule& schedule, Pass pass, Rank rank, MessagePath path, bool in_legs) {
  const Rotation rotation = schedule.rotation(pass);
  const Side side = rotation == Rotation::kKvUp ? Side::kKeys : Side::kQueries;
  const Problem& problem = schedule.problem();
  const std::int64_t heads = side == Side::kKeys ? problem.shape.kv_heads : problem.shape.heads;
  const std::int64_t operand = problem.shape.batch * operand_row_bytes(problem, pass, rotation);
  const std::int64_t accumulator = pass == Pass::kBackward ? problem.shape.batch * accumulator_row_bytes(problem, rotation) : 0;
  const std::int64_t table = RowSelection::table_bytes(schedule, side);
  const bool whole_goes_straight = path != MessagePath::kStaged;
  const LargestMessage operands(operand, table, whole_goes_straight), accumulators(accumulator, table, whole_goes_straight);
  const std::int64_t own_rows = heads * schedule.placement().num_rows(rank);

  const std::vector<VisitRows> own_journey = schedule.journey(rotation, rank);
  std::int64_t num_visits = 0, most_rows = 0;
  for (std::int64_t step = 1; step < schedule.num_ranks(); ++step) {
    const VisitRows here = schedule.visit_rows(rotation, rank, step);
    const std::int64_t all_rows = heads * schedule.placement().num_rows(schedule.owner_visiting(rotation, rank, step));
    if (here.rows > 0) {
      ++num_visits;
      most_rows = std::max(most_rows, all_rows);
    }
    operands.note(sizes.operand_in, here.rows, all_rows);
    accumulators.note(sizes.neighbour_in, here.from_neighbour, all_rows);
    accumulators.note(sizes.start_in, here.rows - here.from_neighbour, all_rows);
    accumulators.note(sizes.neighbour_out, here.to_neighbour, all_rows);
    accumulators.note(sizes.home_out, here.rows - here.to_neighbour, all_rows);
    const VisitRows& there = own_journey[static_cast<std::size_t>(step - 1)];
    operands.note(sizes.operand_out, there.rows, own_rows);
    accumulators.note(sizes.start_out, there.rows - there.from_neighbour, own_rows);
    accumulators.note(sizes.home_in, there.rows - there.to_neighbour, own_rows);
    if (!in_legs) continue;
    // A leg's first step has no step before it, and its last none behind it.
    accumulators.note(sizes.start_in, here.rows, all_rows);
    accumulators.note(sizes.home_out, here.rows, all_rows);
    accumulators.note(sizes.start_out, there.rows, own_rows);
    accumulators.note(sizes.home_in, there.rows, own_rows);
  }
  sizes.num_slots = std::max(sizes.num_slots, std::min<std::int64_t>(num_visits, VisitBuffers::kSlots));
  sizes.operand_bytes = std::max(sizes.operand_bytes, most_rows * operand);
  sizes.accumulator_bytes = std::max(sizes.accumulator_bytes, most_rows * accumulator);
}

}  // namespace

std::int64_t VisitBufferSizes::sum_of(std::int64_t ParcelBytes::*part) const {
  std::int64_t sum = static_cast<std::int64_t>(VisitBuffers::kSlots) * (operand_in.*part + operand_out.*part);
  for (const ParcelBytes* parcel : {&neighbour_in, &neighbour_out, &start_in, &start_out, &home_in, &home_out}) sum += parcel->*part;
  return sum;
}

VisitBufferSizes visit_buffer_sizes(const Schedule& schedule, Rank rank, MessagePath path, bool in_legs) {
  VisitBufferSizes sizes;
  cover_pass(sizes, schedule, Pass::kForward, rank, path, in_legs);
  if (schedule.problem().with_gradient) cover_pass(sizes, schedule, Pass::kBackward, rank, path, in_legs);
  return sizes;
}

VisitBuffers::VisitBuffers(const VisitBufferSizes& sizes, const Mailroom& room, const RankMeters& meters)
    : num_slots(sizes.num_slots),
      mailroom(room),
      neighbour_in(room, sizes.neighbour_in, meters),
      neighbour_out(room, sizes.neighbour_out, meters),
      start_in(room, sizes.start_in, meters),
      start_out(room, sizes.start_out, meters),
      home_in(room, sizes.home_in, meters),
      home_out(room, sizes.home_out, meters) {
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    folded[slot] = room.device.make_mark();
    if (static_cast<std::int64_t>(slot) < sizes.num_slots) {
      operands[slot] = room.device.allocate(sizes.operand_bytes, meters.device);
      accumulators[slot] = room.device.allocate(sizes.accumulator_bytes, meters.device);
    }
    operand_in[slot] = Parcel(room, sizes.operand_in, meters);
    operand_out[slot] = Parcel(room, sizes.operand_out, meters);
  }
}

}  // namespace hilbertring

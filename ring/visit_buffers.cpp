#include "ring/visit_buffers.h"

#include <algorithm>

namespace hilbertring {

namespace {

/// Largest message that has to be packed: whole shards go straight.
void note_message(std::int64_t& largest, std::int64_t rows, std::int64_t all_rows, std::int64_t row_bytes) {
  if (rows < all_rows) largest = std::max(largest, rows * row_bytes);
}

}  // namespace

std::int64_t VisitBufferSizes::total_bytes() const {
  const std::int64_t both = operand_in + operand_out + neighbour_out + start_out + home_in + home_out;
  return num_slots * (operand_bytes + accumulator_bytes) + 2 * both + neighbour_in + start_in;
}

VisitBufferSizes visit_buffer_sizes(const Schedule& schedule, Pass pass, Rank rank) {
  const Rotation rotation = schedule.rotation(pass);
  const Problem& problem = schedule.problem();
  const std::int64_t heads = rotation == Rotation::kKvUp ? problem.shape.kv_heads : problem.shape.heads;
  const std::int64_t operand = problem.shape.batch * operand_row_bytes(problem, pass, rotation);
  const std::int64_t accumulator = pass == Pass::kBackward ? problem.shape.batch * accumulator_row_bytes(problem, rotation) : 0;
  const std::int64_t own_rows = heads * schedule.placement().num_rows(rank);

  const std::vector<VisitRows> own_journey = schedule.journey(rotation, rank);
  VisitBufferSizes sizes;
  std::int64_t num_visits = 0, most_rows = 0;
  for (std::int64_t step = 1; step < schedule.num_ranks(); ++step) {
    const VisitRows here = schedule.visit_rows(rotation, rank, step);
    const std::int64_t all_rows = heads * schedule.placement().num_rows(schedule.owner_visiting(rotation, rank, step));
    if (here.rows > 0) {
      ++num_visits;
      most_rows = std::max(most_rows, all_rows);
    }
    note_message(sizes.operand_in, here.rows, all_rows, operand);
    note_message(sizes.neighbour_in, here.from_neighbour, all_rows, accumulator);
    note_message(sizes.start_in, here.rows - here.from_neighbour, all_rows, accumulator);
    note_message(sizes.neighbour_out, here.to_neighbour, all_rows, accumulator);
    note_message(sizes.home_out, here.rows - here.to_neighbour, all_rows, accumulator);
    const VisitRows& there = own_journey[static_cast<std::size_t>(step - 1)];
    note_message(sizes.operand_out, there.rows, own_rows, operand);
    note_message(sizes.start_out, there.rows - there.from_neighbour, own_rows, accumulator);
    note_message(sizes.home_in, there.rows - there.to_neighbour, own_rows, accumulator);
  }
  sizes.num_slots = std::min<std::int64_t>(num_visits, VisitBuffers::kSlots);
  sizes.operand_bytes = most_rows * operand;
  sizes.accumulator_bytes = most_rows * accumulator;
  return sizes;
}

VisitBuffers::VisitBuffers(const VisitBufferSizes& sizes, const std::shared_ptr<MemoryMeter>& meter)
    : neighbour_in(sizes.neighbour_in, meter), start_in(sizes.start_in, meter) {
  for (std::size_t slot = 0; slot < kSlots; ++slot) {
    if (static_cast<std::int64_t>(slot) < sizes.num_slots) {
      operands[slot] = Buffer(sizes.operand_bytes, meter);
      accumulators[slot] = Buffer(sizes.accumulator_bytes, meter);
    }
    operand_in[slot] = Parcel(sizes.operand_in, meter);
    neighbour_out[slot] = Parcel(sizes.neighbour_out, meter);
    home_out[slot] = Parcel(sizes.home_out, meter);
    operand_out[slot] = Parcel(sizes.operand_out, meter);
    start_out[slot] = Parcel(sizes.start_out, meter);
    home_in[slot] = Parcel(sizes.home_in, meter);
  }
}

}  // namespace hilbertring

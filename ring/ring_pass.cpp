#include "ring/ring_pass.h"

#include <chrono>
#include <thread>
#include <utility>

namespace hilbertring {

namespace {

// Two ranks exchange at most one message of each kind in a pass, hence no step in the tag.
enum Tag : int { kOperandTag = 0, kNeighbourTag = 1, kDepartureTag = 2, kHomeTag = 3 };

/// An idle parcel of a pair, or null.
Parcel* idle_one(std::array<Parcel, VisitBuffers::kSlots>& parcels) {
  for (Parcel& parcel : parcels) {
    if (parcel.is_idle()) return &parcel;
  }
  return nullptr;
}

bool all_idle(std::array<Parcel, VisitBuffers::kSlots>& parcels) {
  for (Parcel& parcel : parcels) {
    if (!parcel.is_idle()) return false;
  }
  return true;
}

}  // namespace

RingPass::RingPass(const Schedule& schedule, Pass pass, Transport& transport, Travellers own, VisitBuffers& buffers, int num_threads)
    : schedule_(schedule),
      transport_(transport),
      own_(std::move(own)),
      buffers_(buffers),
      num_threads_(num_threads),
      rotation_(schedule.rotation(pass)),
      side_(rotation_ == Rotation::kKvUp ? Side::kKeys : Side::kQueries),
      rank_(transport.rank()),
      operands_{1, rows_visiting(rank_, 1)},
      departure_{1, rows_leaving_home(1)},
      homecoming_{1, rows_coming_home(1)},
      away_(schedule, side_, rank_) {}

RowSelection RingPass::rows_visiting(Rank owner, std::int64_t step) const {
  if (step < 1 || step >= schedule_.num_ranks()) return {schedule_, side_, owner};
  return RowSelection::needed(schedule_, side_, owner, schedule_.visited_by(rotation_, owner, step));
}

RowSelection RingPass::rows_leaving_home(std::int64_t step) const {
  RowSelection rows = rows_visiting(rank_, step);
  return rows -= rows_visiting(rank_, step - 1);
}

RowSelection RingPass::rows_coming_home(std::int64_t step) const {
  RowSelection rows = rows_visiting(rank_, step);
  return rows -= rows_visiting(rank_, step + 1);
}

Bundle RingPass::views_like(const Bundle& own, const Buffer& buffer, Rank owner) const {
  Bundle views;
  std::byte* data = buffer.data();
  for (Tensor view : own) {
    view.data = data;
    view.rows = schedule_.placement().num_rows(owner);
    data += view.size_bytes();
    views.push_back(view);
  }
  return views;
}

std::optional<RingPass::Guest> RingPass::next_guest(std::int64_t after_step, std::size_t slot) {
  for (std::int64_t step = after_step + 1; step < schedule_.num_ranks(); ++step) {
    const Rank owner = schedule_.owner_visiting(rotation_, rank_, step);
    RowSelection rows = rows_visiting(owner, step);
    if (rows.is_empty()) continue;
    Travellers views{views_like(own_.operands, buffers_.operands[slot], owner), views_like(own_.accumulators, buffers_.accumulators[slot], owner)};
    return Guest{step, slot, {owner, std::move(views)}, std::move(rows)};
  }
  return std::nullopt;
}

void RingPass::receive_operands(const Guest& guest) {
  buffers_.operand_in[guest.slot].receive(transport_, guest.visit.rows.operands, guest.rows, guest.visit.owner, kOperandTag);
}

void RingPass::receive_accumulators(const Guest& guest) {
  // The slot's accumulators may still be leaving with the visit before last.
  wait_until([&] { return buffers_.neighbour_out[guest.slot].is_idle() && buffers_.home_out[guest.slot].is_idle(); });
  RowSelection from_neighbour = guest.rows;
  from_neighbour &= rows_visiting(guest.visit.owner, guest.step - 1);
  RowSelection from_home = guest.rows;
  from_home -= from_neighbour;
  const Rank neighbour = schedule_.visited_by(rotation_, guest.visit.owner, guest.step - 1);
  buffers_.neighbour_in.receive(transport_, guest.visit.rows.accumulators, std::move(from_neighbour), neighbour, kNeighbourTag);
  buffers_.start_in.receive(transport_, guest.visit.rows.accumulators, std::move(from_home), guest.visit.owner, kDepartureTag);
  wait_until([&] { return buffers_.neighbour_in.is_complete() && buffers_.start_in.is_complete(); });
  buffers_.neighbour_in.finish(num_threads_);
  buffers_.start_in.finish(num_threads_);
}

void RingPass::send_accumulators_on(const Guest& guest) {
  RowSelection to_neighbour = guest.rows;
  to_neighbour &= rows_visiting(guest.visit.owner, guest.step + 1);
  RowSelection home = guest.rows;
  home -= to_neighbour;
  const Rank neighbour = schedule_.visited_by(rotation_, guest.visit.owner, guest.step + 1);
  const Bundle& accumulators = guest.visit.rows.accumulators;
  buffers_.neighbour_out[guest.slot].send(transport_, accumulators, to_neighbour, neighbour, kNeighbourTag, num_threads_);
  buffers_.home_out[guest.slot].send(transport_, accumulators, home, guest.visit.owner, kHomeTag, num_threads_);
}

void RingPass::run(const std::function<void(const Visit&)>& fold) {
  std::optional<Guest> guest = next_guest(0, 0);
  if (guest) receive_operands(*guest);
  while (guest) {
    pump();
    std::optional<Guest> next = next_guest(guest->step, 1 - guest->slot);
    if (next) receive_operands(*next);
    Parcel& operands = buffers_.operand_in[guest->slot];
    wait_until([&] { return operands.is_complete(); });
    operands.finish(num_threads_);
    if (!own_.accumulators.empty()) receive_accumulators(*guest);
    fold(guest->visit);
    if (!own_.accumulators.empty()) send_accumulators_on(*guest);
    guest = std::move(next);
  }
  wait_until([&] { return is_all_done(); });
}

void RingPass::run_without_moving(const std::function<void(const Visit&)>& fold) {
  std::size_t slot = 0;
  for (std::optional<Guest> guest = next_guest(0, slot); guest; guest = next_guest(guest->step, slot)) {
    fold(guest->visit);
    slot = 1 - slot;
  }
}

void RingPass::pump_operands() {
  while (!is_past(operands_)) {
    Parcel* parcel = idle_one(buffers_.operand_out);
    if (parcel == nullptr) return;
    parcel->send(transport_, own_.operands, operands_.rows, schedule_.visited_by(rotation_, rank_, operands_.step), kOperandTag, num_threads_);
    operands_ = {operands_.step + 1, rows_visiting(rank_, operands_.step + 1)};
  }
}

void RingPass::pump_departures() {
  while (!is_past(departure_)) {
    Parcel* parcel = idle_one(buffers_.start_out);
    // Rows of an earlier journey must be home before they leave again.
    if (parcel == nullptr || departure_.rows.meets(away_)) return;
    parcel->send(transport_, own_.accumulators, departure_.rows, schedule_.visited_by(rotation_, rank_, departure_.step), kDepartureTag,
                 num_threads_);
    away_ |= departure_.rows;
    departure_ = {departure_.step + 1, rows_leaving_home(departure_.step + 1)};
  }
}

void RingPass::pump_homecomings() {
  for (Parcel& parcel : buffers_.home_in) {
    if (!parcel.is_complete()) continue;
    if (const std::optional<RowSelection> rows = parcel.finish(num_threads_)) away_ -= *rows;
  }
  while (!is_past(homecoming_)) {
    Parcel* parcel = idle_one(buffers_.home_in);
    if (parcel == nullptr || !away_.contains(homecoming_.rows)) return;
    // A whole shard is received straight into its rows: their sends must be over. (While all rows are away none can leave, so this wait ends.)
    if (homecoming_.rows.is_everything() && !all_idle(buffers_.start_out)) return;
    parcel->receive(transport_, own_.accumulators, homecoming_.rows, schedule_.visited_by(rotation_, rank_, homecoming_.step), kHomeTag);
    homecoming_ = {homecoming_.step + 1, rows_coming_home(homecoming_.step + 1)};
  }
}

void RingPass::pump() {
  transport_.progress();
  pump_operands();
  if (own_.accumulators.empty()) return;
  pump_departures();
  pump_homecomings();
}

bool RingPass::is_all_done() {
  const bool operands_sent = is_past(operands_) && all_idle(buffers_.operand_out);
  if (!operands_sent || own_.accumulators.empty()) return operands_sent;
  return is_past(departure_) && is_past(homecoming_) && away_.is_empty() && all_idle(buffers_.start_out) && all_idle(buffers_.neighbour_out) &&
         all_idle(buffers_.home_out) && all_idle(buffers_.home_in);
}

template <class Condition>
void RingPass::wait_until(Condition&& condition) {
  using Clock = std::chrono::steady_clock;
  if (condition()) return;
  const Clock::time_point begin = Clock::now();
  for (std::int64_t round = 0; !condition(); ++round) {
    pump();
    // Ranks may share cores: leave them to whoever computes.
    if (round < 64) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  waiting_seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace hilbertring

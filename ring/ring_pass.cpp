#include "ring/ring_pass.h"

#include <chrono>
#include <numeric>
#include <thread>
#include <utility>

#include "ring/rank_times.h"
#include "ring/trace.h"

namespace hilbertring {

namespace {

std::size_t parity(std::int64_t step) { return static_cast<std::size_t>(step % 2); }

}  // namespace

RingPass::RingPass(const Schedule& schedule, Pass pass, const Leg& leg, Travellers own, std::span<VisitBuffers> buffers, std::size_t slice)
    : schedule_(schedule),
      leg_(leg),
      all_buffers_(buffers),
      buffers_(buffers[slice]),
      first_tag_(kNumTags * static_cast<int>(slice)),
      device_(buffers_.mailroom.device),
      own_(std::move(own)),
      rotation_(schedule.rotation(pass)),
      side_(rotation_ == Rotation::kKvUp ? Side::kKeys : Side::kQueries),
      rank_(buffers_.mailroom.transport.rank()),
      ready_(device_.make_mark()),
      arrived_(device_.make_mark()),
      stalls_(device_.make_queue_clock()),
      steps_(device_.make_queue_clock()) {
  ready_->set(WorkQueue::kCompute);
}

int RingPass::tag(Tag kind) const { return first_tag_ + kind; }

/// Messages that `exchange` starts go together, where there is a link.
template <class Exchange>
void RingPass::in_group(Exchange&& exchange) {
  if (link() != nullptr) link()->begin();
  exchange();
  if (link() != nullptr) link()->end();
}

void RingPass::start(std::span<RingPass> slices) {
  if (slices.empty()) return;
  const TraceRange trace("operands of the first step");
  for (RingPass& slice : slices) slice.ready_->hold(WorkQueue::kTransfer);
  slices.front().in_group([&] {
    for (RingPass& slice : slices) slice.post_operands(slice.leg_.first_step);
  });
}

RowSelection RingPass::rows_visiting(Rank owner, std::int64_t step) const {
  if (!leg_.has_step(step)) return {schedule_, side_, owner};
  return RowSelection::needed(schedule_, side_, owner, schedule_.visited_by(rotation_, owner, step));
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

std::optional<RingPass::Guest> RingPass::guest_of(std::int64_t step) {
  const Rank owner = schedule_.owner_visiting(rotation_, rank_, step);
  RowSelection rows = rows_visiting(owner, step);
  if (rows.is_empty()) return std::nullopt;
  const std::size_t slot = std::exchange(next_slot_, 1 - next_slot_);
  Travellers views{views_like(own_.operands, buffers_.operands[slot], owner), views_like(own_.accumulators, buffers_.accumulators[slot], owner)};
  return Guest{step, slot, {owner, std::move(views)}, std::move(rows)};
}

void RingPass::start_operands(std::int64_t step) {
  const TraceRange trace("operands of the next step");
  in_group([&] { post_operands(step); });
}

/// Precondition: in a group.
void RingPass::post_operands(std::int64_t step) {
  if (step >= leg_.end_step) return;
  next_ = guest_of(step);
  if (next_) {
    // Over a link rows arrive in the slot itself, else with finish_operands().
    if (link() != nullptr) buffers_.folded[next_->slot]->hold(WorkQueue::kTransfer);
    buffers_.operand_in[parity(step)].receive(next_->visit.rows.operands, next_->rows, next_->visit.owner, tag(kOperandTag));
  }
  Parcel& out = buffers_.operand_out[parity(step)];
  wait_until([&] { return out.is_complete(); });
  out.send(own_.operands, rows_visiting(rank_, step), schedule_.visited_by(rotation_, rank_, step), tag(kOperandTag));
}

void RingPass::finish_operands(std::int64_t step) {
  guest_ = std::exchange(next_, std::nullopt);
  if (!guest_) return;
  Parcel& in = buffers_.operand_in[parity(step)];
  wait_until([&] { return in.is_complete(); });
  if (link() == nullptr) buffers_.folded[guest_->slot]->hold(WorkQueue::kTransfer);
  in.finish();
}

void RingPass::receive_accumulators(const Guest& guest) {
  RowSelection from_neighbour = guest.rows;
  from_neighbour &= rows_visiting(guest.visit.owner, guest.step - 1);
  RowSelection from_home = guest.rows;
  from_home -= from_neighbour;
  const Rank neighbour = schedule_.visited_by(rotation_, guest.visit.owner, guest.step - 1);
  buffers_.neighbour_in.receive(guest.visit.rows.accumulators, std::move(from_neighbour), neighbour, tag(kNeighbourTag));
  buffers_.start_in.receive(guest.visit.rows.accumulators, std::move(from_home), guest.visit.owner, tag(kDepartureTag));
}

void RingPass::send_accumulators(const Guest& guest) {
  RowSelection to_neighbour = guest.rows;
  to_neighbour &= rows_visiting(guest.visit.owner, guest.step + 1);
  RowSelection home = guest.rows;
  home -= to_neighbour;
  const Rank neighbour = schedule_.visited_by(rotation_, guest.visit.owner, guest.step + 1);
  buffers_.neighbour_out.send(guest.visit.rows.accumulators, to_neighbour, neighbour, tag(kNeighbourTag));
  buffers_.home_out.send(guest.visit.rows.accumulators, home, guest.visit.owner, tag(kHomeTag));
}

void RingPass::send_own_accumulators(std::int64_t step) {
  if (step >= leg_.end_step) return;
  RowSelection leaving = rows_visiting(rank_, step);
  leaving -= rows_visiting(rank_, step - 1);
  buffers_.start_out.send(own_.accumulators, leaving, schedule_.visited_by(rotation_, rank_, step), tag(kDepartureTag));
}

void RingPass::receive_own_accumulators(std::int64_t step) {
  if (step < leg_.first_step) return;
  RowSelection coming = rows_visiting(rank_, step);
  coming -= rows_visiting(rank_, step + 1);
  buffers_.home_in.receive(own_.accumulators, std::move(coming), schedule_.visited_by(rotation_, rank_, step), tag(kHomeTag));
}

void RingPass::finish_sends() {
  wait_until([&] {
    return buffers_.neighbour_out.is_complete() && buffers_.home_out.is_complete() && buffers_.start_out.is_complete() &&
           buffers_.home_in.is_complete();
  });
  buffers_.home_in.finish();
}

/// All accumulators that change ranks between the folds of step - 1 and step.
void RingPass::exchange_accumulators(std::int64_t step) {
  if (own_.accumulators.empty()) return;
  const TraceRange trace("accumulators");
  finish_sends();  // of the step before: a slot's accumulators are free, and rows that came home may leave again
  in_group([&] {
    if (guest_) receive_accumulators(*guest_);
    receive_own_accumulators(step - 1);
    ready_->hold(WorkQueue::kTransfer);
    if (last_) send_accumulators(*last_);
    send_own_accumulators(step);
  });
  if (!guest_) return;
  wait_until([&] { return buffers_.neighbour_in.is_complete() && buffers_.start_in.is_complete(); });
  buffers_.neighbour_in.finish();
  buffers_.start_in.finish();
}

void RingPass::hold_until_arrived() {
  stalls_->begin();
  arrived_->hold(WorkQueue::kCompute);
  stalls_->end();
}

void RingPass::fold_guest(const std::function<void(const Visit&)>& fold) {
  if (!guest_) return;
  hold_until_arrived();
  fold(guest_->visit);
  buffers_.folded[guest_->slot]->set(WorkQueue::kCompute);
  ready_->set(WorkQueue::kCompute);
}

void RingPass::leave_home() { ready_->set(WorkQueue::kCompute); }

void RingPass::step(std::int64_t step, const std::function<void(const Visit&)>& fold) {
  const TraceRange trace("ring step");
  if (next_) steps_->begin();
  finish_operands(step);
  exchange_accumulators(step);
  arrived_->set(WorkQueue::kTransfer);
  start_operands(step + 1);
  fold_guest(fold);
  if (guest_) {
    steps_->end();
    ++num_visits_;
  }
  last_ = std::exchange(guest_, std::nullopt);
}

void RingPass::come_home() {
  exchange_accumulators(leg_.end_step);
  finish_sends();
  wait_until([&] { return buffers_.operand_out[0].is_complete() && buffers_.operand_out[1].is_complete(); });
  arrived_->set(WorkQueue::kTransfer);
  hold_until_arrived();
}

// Numbers like those that inputs are made of: with others, a constant say, kernels take other times.
void RingPass::fill_visitors() {
  const std::int64_t max_rows = schedule_.placement().max_rows();
  const Buffer tokens = device_.allocate_shared(max_rows * static_cast<std::int64_t>(sizeof(std::int64_t)), nullptr);
  std::iota(times_in(tokens).begin(), times_in(tokens).end(), std::int64_t{0});
  for (std::int64_t step = leg_.first_step; step < leg_.end_step; ++step) {
    const std::optional<Guest> guest = guest_of(step);
    if (!guest) continue;
    for (const Tensor& tensor : guest->visit.rows.operands) {
      const auto rows = times_in(tokens).first(static_cast<std::size_t>(tensor.rows));
      device_.fill_random(tensor, {.seed = 0, .id = TensorId::kK, .num_tokens = max_rows, .tokens = rows});
    }
    for (const Tensor& tensor : guest->visit.rows.accumulators) device_.fill(tensor, 0);
  }
  next_slot_ = 0;
  device_.wait();
}

void RingPass::run_without_moving(const std::function<void(const Visit&)>& fold) {
  for (std::int64_t step = leg_.first_step; step < leg_.end_step; ++step) {
    guest_ = guest_of(step);
    fold_guest(fold);
  }
}

void RingPass::pump() {
  buffers_.mailroom.transport.progress();
  for (VisitBuffers& buffers : all_buffers_) {
    for (Parcel* parcel : {&buffers.operand_out[0], &buffers.operand_out[1], &buffers.neighbour_out, &buffers.home_out, &buffers.start_out}) {
      parcel->is_complete();
    }
  }
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

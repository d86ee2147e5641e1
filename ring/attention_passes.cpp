#include <algorithm>
#include <chrono>
#include <limits>

#include "core/error.h"
#include "ring/attention_state.h"
#include "ring/operand_parts.h"
#include "ring/trace.h"

namespace hilbertring {

namespace {

/// A kernel call ends at a query chunk once it holds this many multiply-adds: about a tenth of a second, after which the ring is looked after.
constexpr std::int64_t kWorkPerCall = std::int64_t{1} << 31;

void note_ring_times(PassReport& report, const std::vector<RingPass>& rings) {
  double seconds = 0;
  std::int64_t most_visits = 0;
  for (const RingPass& ring : rings) {
    report.waiting_seconds += ring.waiting_seconds();
    seconds += ring.step_seconds();
    most_visits = std::max(most_visits, ring.num_visits());
  }
  if (most_visits > 0) report.step_seconds = seconds / static_cast<double>(most_visits);
}

}  // namespace

template <class Kernel>
void RingAttention::State::fold(Pass pass, std::span<const ChunkPair> pairs, RingPass& ring, Kernel&& kernel) {
  const Shape& shape = schedule->problem().shape;
  // A GPU works while the host looks after the ring, and wants to be full.
  const std::int64_t work_per_call = device->is_host() ? kWorkPerCall : std::numeric_limits<std::int64_t>::max();
  const TraceRange trace("fold");
  while (!pairs.empty()) {
    std::size_t count = 0;
    std::int64_t work = 0;
    const auto ends_chunk = [&] { return count == pairs.size() || pairs[count].queries.positions != pairs[count - 1].queries.positions; };
    do {
      const ChunkPair& pair = pairs[count++];
      work += pair.queries.positions.size() * pair.keys.positions.size() * shape.batch * shape.heads * shape.head_dim;
    } while (work < work_per_call ? count < pairs.size() : !ends_chunk());
    if (mode != PassMode::kTransfersAlone) kernel(pairs.first(count));
    pairs = pairs.subspan(count);
    if (mode != PassMode::kComputeAlone) ring.pump();
    progress.advance(pass, static_cast<std::int64_t>(count));
  }
}

std::vector<RingPass> RingAttention::State::make_rings(Pass pass, const Leg& leg, const Travellers& own) {
  const Shape& whole = schedule->problem().shape;
  std::vector<RingPass> rings;
  for (std::int64_t i = 0; i < schedule->num_slices(); ++i) {
    const Schedule& slice = schedule->slice(i);
    rings.emplace_back(slice, pass, leg, part_of(own, slice.extent(), whole), pass_memory->buffers, static_cast<std::size_t>(i));
  }
  if (mode == PassMode::kComputeAlone) invent_visitors(rings);
  return rings;
}

void RingAttention::State::invent_visitors(std::vector<RingPass>& rings) {
  device->wait();
  const auto begin = std::chrono::steady_clock::now();
  for (RingPass& ring : rings) ring.fill_visitors();
  transport.barrier();  // ranks may share cores: none computes while another fills
  invention_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void RingAttention::State::go_round(Pass pass, const Leg& leg, std::vector<RingPass>& rings, const FoldPairs& fold_pairs) {
  const auto slice = [&](std::size_t i) -> const Schedule& { return schedule->slice(static_cast<std::int64_t>(i)); };
  const auto fold_visit = [&](std::size_t i) {
    return [&, i](const Visit& visit) { fold_pairs(i, &visit, slice(i).visit_pairs(schedule->rotation(pass), rank, visit.owner, leg.lags)); };
  };
  const bool is_moving = mode != PassMode::kComputeAlone;
  // Before the first fold: a persistent kernel leaves no room on a GPU for the messages' own kernels until it ends.
  if (is_moving) RingPass::start(rings);
  for (std::size_t i = 0; i < rings.size(); ++i) {
    fold_pairs(i, nullptr, slice(i).own_pairs_below(rank, leg.lags));
    rings[i].leave_home();
  }
  for (std::int64_t step = leg.first_step; is_moving && step < leg.end_step; ++step) {
    for (std::size_t i = 0; i < rings.size(); ++i) rings[i].step(step, fold_visit(i));
  }
  for (std::size_t i = 0; i < rings.size(); ++i) {
    is_moving ? rings[i].come_home() : rings[i].run_without_moving(fold_visit(i));
    fold_pairs(i, nullptr, slice(i).own_pairs_above(rank, leg.lags));
  }
}

void RingAttention::State::require_forward(PassMode pass_mode) const {
  if (schedule->problem().with_gradient && (is_forward_done || pass_mode != PassMode::kWhole)) return;
  throw usage_error("the backward pass needs a problem with gradient, and a forward pass of what was loaded");
}

void RingAttention::State::finish_work() {
  device->wait();
  if (link) link->check();
}

PassReport RingAttention::State::measured(Pass pass, PassMode pass_mode, const Leg& leg) {
  const TraceRange trace(pass == Pass::kForward ? "forward pass" : "backward pass");
  PassReport report;
  mode = pass_mode;
  progress.begin_leg(pass, leg.lags.begin);
  report.predicted_bytes = mode == PassMode::kComputeAlone ? 0 : schedule->sent_bytes(pass, rank, leg);
  if (!pass_memory) pass_memory.emplace(*schedule, mailroom, meters, options.in_legs);
  const std::int64_t sent_before = transport.sent_bytes();
  invention_seconds = 0;
  const auto begin = std::chrono::steady_clock::now();
  pass == Pass::kForward ? forward(leg, report) : backward(leg, report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() - invention_seconds;
  report.sent_bytes = transport.sent_bytes() - sent_before;
  next_lag = leg.lags.end;
  return report;
}

ForwardOperands RingAttention::State::own_forward_operands() {
  return {.q = shard.q,
          .k = shard.k,
          .v = shard.v,
          .times = own_times(),
          .scale = schedule->problem().specification.scale_for(schedule->problem().shape),
          .row_max = shard.row_max,
          .row_sum = shard.row_sum,
          .o = shard.o};
}

void RingAttention::State::forward(const Leg& leg, PassReport& report) {
  const ForwardOperands own = own_forward_operands();
  // Their operands are ready before the state is reset: a GPU does that while the host starts the first messages.
  std::vector<RingPass> rings = make_rings(Pass::kForward, leg, {.operands = {shard.k, shard.v}, .accumulators = {}});
  if (leg.lags.begin == 0) {
    device->fill(shard.row_max, -std::numeric_limits<double>::infinity());
    device->fill(shard.row_sum, 0);
    device->fill(shard.o, 0);
  }
  go_round(Pass::kForward, leg, rings, [&](std::size_t i, const Visit* visit, const std::vector<ChunkPair>& pairs) {
    const Schedule& slice = schedule->slice(static_cast<std::int64_t>(i));
    ForwardOperands operands = part_of(own, slice.extent(), schedule->problem().shape);
    if (visit != nullptr) {
      operands = with_visit(operands, visit->rows);
      operands.times.keys = pass_memory->visitor_times.of(*schedule->orders().keys, visit->owner);
    }
    fold(Pass::kForward, pairs, rings[i],
         [&](std::span<const ChunkPair> some) { report.allowed_pairs += kernels.forward(slice.pattern(), operands, some); });
  });
  if (is_last(leg)) kernels.finish_forward(own);
  finish_work();
  report.allowed_pairs += kernels.take_uncounted_pairs();
  note_ring_times(report, rings);
  is_forward_done = mode == PassMode::kWhole && is_last(leg);
}

BackwardOperands RingAttention::State::own_backward_operands() {
  return {.q = shard.q,
          .d_o = shard.d_o,
          .k = shard.k,
          .v = shard.v,
          .lse2 = shard.row_max,
          .delta = shard.delta,
          .times = own_times(),
          .scale = schedule->problem().specification.scale_for(schedule->problem().shape),
          .dq = shard.dq,
          .dk = shard.dk,
          .dv = shard.dv};
}

void RingAttention::State::backward(const Leg& leg, PassReport& report) {
  const Rotation rotation = schedule->rotation(Pass::kBackward);
  kernels.dot_rows(shard.delta, shard.d_o, shard.o);
  const BackwardOperands own = own_backward_operands();
  std::vector<RingPass> rings = make_rings(Pass::kBackward, leg,
                                           rotation == Rotation::kKvUp ? Travellers{{shard.k, shard.v}, {shard.dk, shard.dv}}
                                                                       : Travellers{{shard.q, shard.d_o, shard.row_max, shard.delta}, {shard.dq}});
  for (const Tensor& gradient : {shard.dq, shard.dk, shard.dv}) {
    if (leg.lags.begin == 0) device->fill(gradient, 0);
  }
  go_round(Pass::kBackward, leg, rings, [&](std::size_t i, const Visit* visit, const std::vector<ChunkPair>& pairs) {
    const Schedule& slice = schedule->slice(static_cast<std::int64_t>(i));
    BackwardOperands operands = part_of(own, slice.extent(), schedule->problem().shape);
    if (visit != nullptr) {
      operands = with_visit(operands, rotation, visit->rows);
      const bool are_keys = rotation == Rotation::kKvUp;
      const Orders& orders = schedule->orders();
      (are_keys ? operands.times.keys : operands.times.queries) =
          pass_memory->visitor_times.of(are_keys ? *orders.keys : *orders.queries, visit->owner);
    }
    fold(Pass::kBackward, pairs, rings[i], [&](std::span<const ChunkPair> some) { kernels.backward(slice.pattern(), operands, some); });
  });
  finish_work();
  note_ring_times(report, rings);
}

}  // namespace hilbertring

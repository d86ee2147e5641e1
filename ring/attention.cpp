#include "ring/attention.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <numbers>
#include <utility>

#include "core/error.h"
#include "ring/operand_parts.h"
#include "ring/pass_memory.h"
#include "ring/pass_progress.h"
#include "ring/rank_times.h"
#include "ring/redistribution.h"
#include "ring/ring_pass.h"
#include "ring/shard.h"
#include "ring/tensor_mover.h"
#include "ring/trace.h"

namespace hilbertring {

namespace {

/// A kernel call ends at a query chunk once it holds this many multiply-adds: about a tenth of a second, after which the ring is looked after.
constexpr std::int64_t kWorkPerCall = std::int64_t{1} << 31;

RankMemory admitted_memory(const Schedule& schedule, const Transport& transport, const RingOptions& options) {
  const Rank rank = transport.rank();
  const RankMemory memory = predict_memory(schedule, rank, message_path(options.backend, transport.links_devices()), options.num_threads,
                                           options.output_type, options.staging_bytes, options.in_legs);
  if (options.memory_limit_bytes > 0 && memory.host.total_bytes() > options.memory_limit_bytes) {
    throw failure("not enough memory: rank " + std::to_string(rank.value) + " needs " + std::to_string(memory.host.total_bytes()) +
                  " bytes, the limit is " + std::to_string(options.memory_limit_bytes) + " (more ranks need less each)");
  }
  return memory;
}

/// One number a row: [B, H, n_slab] outside.
bool is_row_scalar(ShardTensor tensor) { return tensor == ShardTensor::kLse || tensor == ShardTensor::kRowMax || tensor == ShardTensor::kRowSum; }
SlabLayout layout_of(ShardTensor tensor) { return is_row_scalar(tensor) ? SlabLayout::kHeadMajor : SlabLayout::kTokenMajor; }

bool is_key_side(ShardTensor tensor) {
  return tensor == ShardTensor::kK || tensor == ShardTensor::kV || tensor == ShardTensor::kDk || tensor == ShardTensor::kDv;
}

TensorId random_id(ShardTensor tensor) {
  switch (tensor) {
    case ShardTensor::kQ: return TensorId::kQ;
    case ShardTensor::kK: return TensorId::kK;
    case ShardTensor::kV: return TensorId::kV;
    default: return TensorId::kDo;
  }
}

/// On the CPU there is but one place, and one meter.
RankMeters make_meters(Backend backend) {
  const auto host = std::make_shared<MemoryMeter>();
  return {.device = backend == Backend::kCpu ? host : std::make_shared<MemoryMeter>(), .host = host};
}

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

/// Folds pairs of a slice: with visiting rows, or (null) with the rank's own on both sides.
using FoldPairs = std::function<void(std::size_t slice, const Visit* visit, const std::vector<ChunkPair>& pairs)>;

}  // namespace

MessagePath message_path(Backend backend, bool links_devices) {
  if (backend == Backend::kCpu) return MessagePath::kHost;
  return links_devices ? MessagePath::kLinked : MessagePath::kStaged;
}

struct RingAttention::State {
  State(Transport& t, std::shared_ptr<const Schedule> s, RingOptions o);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  /// Collective, unless an exception is under way.
  ~State();

  /// Before memory that messages have touched is given back.
  void let_go_of_memory() {
    if (link) link->let_go();
  }
  void drop_pass_memory();

  Redistribution make_redistribution(const Order& order);
  const Redistribution& redistribution_of(ShardTensor tensor) const;
  Tensor tensor_of(ShardTensor tensor) const;
  /// The shard's tensor, about to be taken in.
  Tensor loading(ShardTensor tensor);
  void load_random(ShardTensor tensor, std::uint64_t seed);
  /// A result as it is handed out: of the shard, or converted, which `memory` then holds.
  Tensor result_as(ShardTensor tensor, ElementType type, Buffer& memory);
  TensorMover mover_of(ShardTensor tensor);
  /// Calls `kernel(span of pairs)` for handfuls of pairs and looks after the ring in between.
  template <class Kernel>
  void fold(Pass pass, std::span<const ChunkPair> pairs, RingPass& ring, Kernel&& kernel);
  std::vector<RingPass> make_rings(Pass pass, const Leg& leg, const Travellers& own);
  /// For PassMode::kComputeAlone. What it takes is not part of the pass.
  void invent_visitors(std::vector<RingPass>& rings);
  /// All that is folded in a pass, in the order of the fold law for each slice; slices take turns.
  void go_round(Pass pass, const Leg& leg, std::vector<RingPass>& rings, const FoldPairs& fold_pairs);
  /// Throws usage_error unless a backward pass makes sense.
  void require_forward(PassMode pass_mode) const;
  /// Blocks until the device has done all that it was given.
  void finish_work();
  PassReport measured(Pass pass, PassMode pass_mode, const Leg& leg);
  bool is_last(const Leg& leg) const { return leg.lags.end >= schedule->num_lags(); }
  void forward(const Leg& leg, PassReport& report);
  void backward(const Leg& leg, PassReport& report);
  ForwardOperands own_forward_operands();
  BackwardOperands own_backward_operands();
  Times own_times() { return {query_times.of(*schedule->orders().queries, rank), key_times.of(*schedule->orders().keys, rank)}; }

  Transport& transport;
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  Rank rank;
  RankMemory prediction;
  RankMeters meters;
  std::shared_ptr<MemoryMeter> gpu_scratch = std::make_shared<MemoryMeter>();
  std::unique_ptr<ComputeDevice> device;
  std::unique_ptr<DeviceLink> link;
  Mailroom mailroom;
  BlockAttention& kernels;
  Shard shard;
  RankTimes query_times, key_times;
  Redistribution queries;
  std::optional<Redistribution> keys;     ///< only if the keys have an order of their own
  std::optional<PassMemory> pass_memory;  ///< given back while a tensor is loaded or stored, which needs room of its own
  bool is_forward_done = false;
  int num_exceptions = std::uncaught_exceptions();
  std::int64_t next_lag = 0;         ///< that the next leg must begin with, unless it begins a pass
  PassMode mode = PassMode::kWhole;  ///< of the pass under way
  double invention_seconds = 0;      ///< of invent_visitors
  PassProgress progress;
};

RingAttention::State::State(Transport& t, std::shared_ptr<const Schedule> s, RingOptions o)
    : transport(t),
      schedule(std::move(s)),
      options(std::move(o)),
      rank(t.rank()),
      prediction(admitted_memory(*schedule, transport, options)),
      meters(make_meters(options.backend)),
      device(make_device(options.backend, options.gpu, options.num_threads, gpu_scratch)),
      link(device->is_host() ? nullptr : transport.link(*device)),
      mailroom{.transport = transport, .device = *device, .link = link.get()},
      kernels(device->attention()),
      shard(schedule->problem(), schedule->placement().num_rows(rank), *device, meters.device),
      query_times(*schedule, shard.q.rows, *device, meters),
      key_times(*schedule, shard.q.rows, *device, meters),
      queries(make_redistribution(*schedule->orders().queries)),
      progress(schedule, rank, options.progress) {
  if (schedule->orders().keys != schedule->orders().queries) keys.emplace(make_redistribution(*schedule->orders().keys));
}

RingAttention::State::~State() {
  if (std::uncaught_exceptions() > num_exceptions || !pass_memory) return;
  // Nobody is left to tell, and the process goes on without this memory.
  static_cast<void>(error_of([this] { let_go_of_memory(); }));
}

void RingAttention::State::drop_pass_memory() {
  if (!pass_memory) return;
  let_go_of_memory();
  pass_memory.reset();
}

Redistribution RingAttention::State::make_redistribution(const Order& order) {
  const Buffer rows(shard.q.rows * static_cast<std::int64_t>(sizeof(std::int64_t)), meters.host);
  fill_times(order, schedule->placement(), rank, times_in(rows));
  return {transport, order.num_tokens(), times_in(rows), meters.host, options.num_threads};
}

const Redistribution& RingAttention::State::redistribution_of(ShardTensor tensor) const { return is_key_side(tensor) && keys ? *keys : queries; }

Tensor RingAttention::State::tensor_of(ShardTensor tensor) const {
  switch (tensor) {
    case ShardTensor::kQ: return shard.q;
    case ShardTensor::kK: return shard.k;
    case ShardTensor::kV: return shard.v;
    case ShardTensor::kDo: return shard.d_o;
    case ShardTensor::kO: return shard.o;
    case ShardTensor::kLse:
    case ShardTensor::kRowMax: return shard.row_max;
    case ShardTensor::kRowSum: return shard.row_sum;
    case ShardTensor::kDq: return shard.dq;
    case ShardTensor::kDk: return shard.dk;
    case ShardTensor::kDv: break;
  }
  return shard.dv;
}

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

RingAttention::RingAttention(Transport& transport, std::shared_ptr<const Schedule> schedule, RingOptions options)
    : state_(std::make_unique<State>(transport, std::move(schedule), std::move(options))) {}
RingAttention::~RingAttention() = default;
RingAttention::RingAttention(RingAttention&&) noexcept = default;

Tensor RingAttention::State::loading(ShardTensor tensor) {
  is_forward_done = false;
  drop_pass_memory();
  return tensor_of(tensor);
}

TensorMover RingAttention::State::mover_of(ShardTensor tensor) {
  return {redistribution_of(tensor), *device, layout_of(tensor), options.staging_bytes, options.num_threads, meters.host};
}

void RingAttention::State::load_random(ShardTensor tensor, std::uint64_t seed) {
  const Tensor target = loading(tensor);
  const Orders& orders = schedule->orders();
  const Buffer rows = device->allocate_shared(target.rows * static_cast<std::int64_t>(sizeof(std::int64_t)), meters.host);
  fill_times(is_key_side(tensor) ? *orders.keys : *orders.queries, schedule->placement(), rank, times_in(rows));
  Buffer on_device;
  if (!device->is_host()) {
    on_device = device->allocate(rows.size_bytes(), meters.device);
    device->copy_in(on_device.data(), rows.data(), rows.size_bytes());
  }
  device->fill_random(target, {.seed = seed,
                               .id = random_id(tensor),
                               .num_tokens = schedule->problem().shape.tokens,
                               .tokens = times_in(device->is_host() ? rows : on_device)});
  device->wait();
}

Tensor RingAttention::State::result_as(ShardTensor tensor, ElementType type, Buffer& memory) {
  drop_pass_memory();
  const bool is_lse = tensor == ShardTensor::kLse;
  Tensor result = tensor_of(tensor);
  if (type == result.type && !is_lse) return result;
  const Tensor computed = result;
  result.type = type;
  memory = device->allocate(result.size_bytes(), meters.device);
  result.data = memory.data();
  device->convert(computed, result, is_lse ? std::numbers::ln2 : 1.0);
  return result;
}

void RingAttention::load(ShardTensor tensor, std::span<const std::byte> slab) { state_->mover_of(tensor).load(slab, state_->loading(tensor)); }

void RingAttention::load_in_pieces(ShardTensor tensor, const PieceReader& read) {
  state_->mover_of(tensor).load_in_pieces(read, state_->loading(tensor));
}

void RingAttention::load_random(ShardTensor tensor, std::uint64_t seed) { state_->load_random(tensor, seed); }

PassReport RingAttention::forward(PassMode mode) { return state_->measured(Pass::kForward, mode, state_->schedule->leg({})); }

PassReport RingAttention::backward(PassMode mode) {
  state_->require_forward(mode);
  return state_->measured(Pass::kBackward, mode, state_->schedule->leg({}));
}

PassReport RingAttention::fold(Pass pass, LagRange lags) {
  if (pass == Pass::kBackward) state_->require_forward(PassMode::kWhole);
  if (!state_->options.in_legs || (lags.begin != 0 && lags.begin != state_->next_lag)) {
    throw usage_error("a leg of lags from " + std::to_string(lags.begin) + " needs the option in_legs, and the lags up to " +
                      std::to_string(state_->next_lag) + " have been folded");
  }
  return state_->measured(pass, PassMode::kWhole, state_->schedule->leg(lags));
}

std::int64_t RingAttention::num_lags() const { return state_->schedule->num_lags(); }

void RingAttention::resume_at(Pass pass, std::int64_t lag) {
  state_->is_forward_done = pass == Pass::kBackward;
  state_->next_lag = lag;
  state_->progress.resume();
}

void RingAttention::store(ShardTensor tensor, ElementType type, std::span<std::byte> slab) {
  Buffer converted;
  state_->mover_of(tensor).store(state_->result_as(tensor, type, converted), slab);
}

void RingAttention::store_in_pieces(ShardTensor tensor, ElementType type, const PieceWriter& write) {
  Buffer converted;
  state_->mover_of(tensor).store_in_pieces(state_->result_as(tensor, type, converted), write);
}

const MemoryMeter& RingAttention::memory() const { return *state_->meters.host; }
const MemoryMeter& RingAttention::gpu_memory() const {
  static const MemoryMeter nothing;
  return state_->device->is_host() ? nothing : *state_->meters.device;
}
const MemoryMeter& RingAttention::gpu_scratch() const { return *state_->gpu_scratch; }
const RankMemory& RingAttention::predicted_memory() const { return state_->prediction; }
ElementType RingAttention::weights_type() const { return state_->device->weights_type(state_->schedule->problem().type); }
std::string RingAttention::device() const { return state_->device->description(); }

}  // namespace hilbertring

#include "ring/attention.h"

#include <chrono>
#include <limits>
#include <numbers>
#include <utility>

#include "core/cpu/cpu_attention.h"
#include "core/error.h"
#include "ring/redistribution.h"
#include "ring/ring_pass.h"
#include "ring/shard.h"

namespace hilbertring {

namespace {

/// A kernel call ends at a query chunk once it holds this many multiply-adds: about a tenth of a second, after which the ring is looked after.
constexpr std::int64_t kWorkPerCall = std::int64_t{1} << 31;

MemoryPrediction admitted_memory(const Schedule& schedule, Rank rank, const RingOptions& options) {
  const MemoryPrediction memory = predict_memory(schedule, rank, options.num_threads, options.output_type);
  if (options.memory_limit_bytes > 0 && memory.total_bytes() > options.memory_limit_bytes) {
    throw failure("not enough memory: rank " + std::to_string(rank.value) + " needs " + std::to_string(memory.total_bytes()) +
                  " bytes, the limit is " + std::to_string(options.memory_limit_bytes) + " (more ranks need less each)");
  }
  return memory;
}

void fill(const Tensor& tensor, double value) {
  const std::int64_t size = tensor.size_bytes() / size_bytes(tensor.type);
  for (std::int64_t i = 0; i < size; ++i) store_element(tensor.data, tensor.type, i, value);
}

void fill_zero(const Tensor& tensor) { std::fill_n(tensor.data, tensor.size_bytes(), std::byte{0}); }

}  // namespace

struct RingAttention::State {
  State(Transport& t, std::shared_ptr<const Schedule> s, RingOptions o);

  Redistribution make_redistribution(const Order& order);
  const Redistribution& redistribution_of(ShardTensor tensor) const;
  Tensor tensor_of(ShardTensor tensor) const;
  /// Calls `kernel(span of pairs)` for handfuls of pairs and looks after the ring (if one is turning) in between.
  template <class Kernel>
  void fold(Pass pass, std::span<const ChunkPair> pairs, RingPass* ring, Kernel&& kernel);
  std::int64_t num_pairs(Pass pass) const;
  void run(RingPass& ring, const std::function<void(const Visit&)>& fold_visit);
  PassReport measured(Pass pass, const std::function<void(PassReport&)>& body);
  void forward(PassReport& report);
  void backward(PassReport& report);
  BackwardOperands own_backward_operands() const;
  /// Times of a visitor's rows, on the side that travels.
  std::span<const std::int64_t> visitor_times(const Order& order, Rank owner);

  Transport& transport;
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  Rank rank;
  MemoryPrediction prediction;
  std::shared_ptr<MemoryMeter> meter = std::make_shared<MemoryMeter>();
  std::unique_ptr<BlockAttention> kernels;
  Shard shard;
  Buffer query_times, key_times, guest_times;
  Redistribution queries;
  std::optional<Redistribution> keys;  ///< only if the keys have an order of their own
  bool is_forward_done = false;
  std::int64_t done_pairs = 0, total_pairs = 0;
};

RingAttention::State::State(Transport& t, std::shared_ptr<const Schedule> s, RingOptions o)
    : transport(t),
      schedule(std::move(s)),
      options(std::move(o)),
      rank(t.rank()),
      prediction(admitted_memory(*schedule, rank, options)),
      kernels(make_cpu_attention(options.num_threads)),
      shard(schedule->problem(), schedule->placement().num_rows(rank), meter),
      query_times(times_bytes(schedule->problem(), shard.q.rows), meter),
      key_times(times_bytes(schedule->problem(), shard.q.rows), meter),
      queries(make_redistribution(*schedule->orders().queries)) {
  const Orders& orders = schedule->orders();
  if (orders.keys != orders.queries) keys.emplace(make_redistribution(*orders.keys));
  if (schedule->problem().specification.causal != Causal::kSequence) return;
  fill_times(*orders.queries, schedule->placement(), rank, times_in(query_times));
  fill_times(*orders.keys, schedule->placement(), rank, times_in(key_times));
}

Redistribution RingAttention::State::make_redistribution(const Order& order) {
  const Buffer rows(shard.q.rows * static_cast<std::int64_t>(sizeof(std::int64_t)), meter);
  fill_times(order, schedule->placement(), rank, times_in(rows));
  return {transport, order.num_tokens(), times_in(rows), meter, options.num_threads};
}

const Redistribution& RingAttention::State::redistribution_of(ShardTensor tensor) const {
  const bool is_key_side = tensor == ShardTensor::kK || tensor == ShardTensor::kV || tensor == ShardTensor::kDk || tensor == ShardTensor::kDv;
  return is_key_side && keys ? *keys : queries;
}

Tensor RingAttention::State::tensor_of(ShardTensor tensor) const {
  switch (tensor) {
    case ShardTensor::kQ: return shard.q;
    case ShardTensor::kK: return shard.k;
    case ShardTensor::kV: return shard.v;
    case ShardTensor::kDo: return shard.d_o;
    case ShardTensor::kO: return shard.o;
    case ShardTensor::kLse: return shard.row_max;
    case ShardTensor::kDq: return shard.dq;
    case ShardTensor::kDk: return shard.dk;
    case ShardTensor::kDv: break;
  }
  return shard.dv;
}

template <class Kernel>
void RingAttention::State::fold(Pass pass, std::span<const ChunkPair> pairs, RingPass* ring, Kernel&& kernel) {
  const Shape& shape = schedule->problem().shape;
  while (!pairs.empty()) {
    std::size_t count = 0;
    std::int64_t work = 0;
    const auto ends_chunk = [&] { return count == pairs.size() || pairs[count].queries.positions != pairs[count - 1].queries.positions; };
    do {
      const ChunkPair& pair = pairs[count++];
      work += pair.queries.positions.size() * pair.keys.positions.size() * shape.batch * shape.heads * shape.head_dim;
    } while (work < kWorkPerCall ? count < pairs.size() : !ends_chunk());
    if (!options.compute_nothing) kernel(pairs.first(count));
    pairs = pairs.subspan(count);
    done_pairs += static_cast<std::int64_t>(count);
    if (ring != nullptr && !options.move_nothing) ring->pump();
    if (options.progress) options.progress(pass, done_pairs, total_pairs);
  }
}

std::int64_t RingAttention::State::num_pairs(Pass pass) const {
  std::size_t pairs = schedule->own_pairs_below(rank).size() + schedule->own_pairs_above(rank).size();
  const Rotation rotation = schedule->rotation(pass);
  for (std::int64_t step = 1; step < schedule->num_ranks(); ++step) {
    pairs += schedule->visit_pairs(rotation, rank, schedule->owner_visiting(rotation, rank, step)).size();
  }
  return static_cast<std::int64_t>(pairs);
}

void RingAttention::State::run(RingPass& ring, const std::function<void(const Visit&)>& fold_visit) {
  if (options.move_nothing) {
    ring.run_without_moving(fold_visit);
  } else {
    ring.run(fold_visit);
  }
}

std::span<const std::int64_t> RingAttention::State::visitor_times(const Order& order, Rank owner) {
  if (guest_times.size_bytes() == 0) return {};
  const auto rows = static_cast<std::size_t>(schedule->placement().num_rows(owner));
  const std::span<std::int64_t> times = times_in(guest_times).first(rows);
  fill_times(order, schedule->placement(), owner, times);
  return times;
}

PassReport RingAttention::State::measured(Pass pass, const std::function<void(PassReport&)>& body) {
  PassReport report;
  done_pairs = 0;
  total_pairs = options.progress ? num_pairs(pass) : 0;
  report.predicted_bytes = options.move_nothing ? 0 : schedule->sent_bytes(pass, rank);
  const std::int64_t sent_before = transport.sent_bytes();
  const auto begin = std::chrono::steady_clock::now();
  body(report);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  report.sent_bytes = transport.sent_bytes() - sent_before;
  return report;
}

void RingAttention::State::forward(PassReport& report) {
  const VisitBufferSizes sizes = visit_buffer_sizes(*schedule, Pass::kForward, rank);
  VisitBuffers buffers(sizes, meter);
  guest_times = Buffer(sizes.num_slots > 0 ? times_bytes(schedule->problem(), schedule->placement().max_rows()) : 0, meter);
  fill(shard.row_max, -std::numeric_limits<double>::infinity());
  fill_zero(shard.row_sum);
  fill_zero(shard.o);

  ForwardOperands own{.q = shard.q,
                      .k = shard.k,
                      .v = shard.v,
                      .times = {times_in(query_times), times_in(key_times)},
                      .scale = schedule->problem().specification.scale_for(schedule->problem().shape),
                      .row_max = shard.row_max,
                      .row_sum = shard.row_sum,
                      .o = shard.o};
  RingPass ring(*schedule, Pass::kForward, transport, {.operands = {shard.k, shard.v}, .accumulators = {}}, buffers, options.num_threads);
  const auto fold_pairs = [&](const ForwardOperands& operands, const std::vector<ChunkPair>& pairs) {
    fold(Pass::kForward, pairs, &ring,
         [&](std::span<const ChunkPair> some) { report.allowed_pairs += kernels->forward(schedule->pattern(), operands, some); });
  };
  if (!options.move_nothing) ring.pump();
  fold_pairs(own, schedule->own_pairs_below(rank));
  run(ring, [&](const Visit& visit) {
    ForwardOperands operands = own;
    operands.k = visit.rows.operands[0];
    operands.v = visit.rows.operands[1];
    operands.times.keys = visitor_times(*schedule->orders().keys, visit.owner);
    fold_pairs(operands, schedule->visit_pairs(Rotation::kKvUp, rank, visit.owner));
  });
  fold_pairs(own, schedule->own_pairs_above(rank));
  report.allowed_pairs += kernels->take_uncounted_pairs();
  kernels->finish_forward(own);
  report.waiting_seconds = ring.waiting_seconds();
  guest_times = Buffer();
  is_forward_done = true;
}

BackwardOperands RingAttention::State::own_backward_operands() const {
  return {.q = shard.q,
          .d_o = shard.d_o,
          .k = shard.k,
          .v = shard.v,
          .lse2 = shard.row_max,
          .delta = shard.delta,
          .times = {times_in(query_times), times_in(key_times)},
          .scale = schedule->problem().specification.scale_for(schedule->problem().shape),
          .dq = shard.dq,
          .dk = shard.dk,
          .dv = shard.dv};
}

void RingAttention::State::backward(PassReport& report) {
  const Rotation rotation = schedule->rotation(Pass::kBackward);
  const VisitBufferSizes sizes = visit_buffer_sizes(*schedule, Pass::kBackward, rank);
  VisitBuffers buffers(sizes, meter);
  guest_times = Buffer(sizes.num_slots > 0 ? times_bytes(schedule->problem(), schedule->placement().max_rows()) : 0, meter);
  kernels->dot_rows(shard.delta, shard.d_o, shard.o);
  for (const Tensor& gradient : {shard.dq, shard.dk, shard.dv}) fill_zero(gradient);

  const BackwardOperands own = own_backward_operands();
  Travellers travellers = rotation == Rotation::kKvUp ? Travellers{{shard.k, shard.v}, {shard.dk, shard.dv}}
                                                      : Travellers{{shard.q, shard.d_o, shard.row_max, shard.delta}, {shard.dq}};
  const auto fold_pairs = [&](const BackwardOperands& operands, const std::vector<ChunkPair>& pairs, RingPass* ring) {
    fold(Pass::kBackward, pairs, ring, [&](std::span<const ChunkPair> some) { kernels->backward(schedule->pattern(), operands, some); });
  };
  // Accumulators leave home with the first pump: not before the own part is folded.
  fold_pairs(own, schedule->own_pairs_below(rank), nullptr);
  RingPass ring(*schedule, Pass::kBackward, transport, std::move(travellers), buffers, options.num_threads);
  run(ring, [&](const Visit& visit) {
    BackwardOperands operands = own;
    if (rotation == Rotation::kKvUp) {
      operands.k = visit.rows.operands[0];
      operands.v = visit.rows.operands[1];
      operands.dk = visit.rows.accumulators[0];
      operands.dv = visit.rows.accumulators[1];
      operands.times.keys = visitor_times(*schedule->orders().keys, visit.owner);
    } else {
      operands.q = visit.rows.operands[0];
      operands.d_o = visit.rows.operands[1];
      operands.lse2 = visit.rows.operands[2];
      operands.delta = visit.rows.operands[3];
      operands.dq = visit.rows.accumulators[0];
      operands.times.queries = visitor_times(*schedule->orders().queries, visit.owner);
    }
    fold_pairs(operands, schedule->visit_pairs(rotation, rank, visit.owner), &ring);
  });
  fold_pairs(own, schedule->own_pairs_above(rank), nullptr);
  report.waiting_seconds = ring.waiting_seconds();
  guest_times = Buffer();
}

RingAttention::RingAttention(Transport& transport, std::shared_ptr<const Schedule> schedule, RingOptions options)
    : state_(std::make_unique<State>(transport, std::move(schedule), std::move(options))) {}
RingAttention::~RingAttention() = default;
RingAttention::RingAttention(RingAttention&&) noexcept = default;

void RingAttention::load(ShardTensor tensor, std::span<const std::byte> slab) {
  state_->redistribution_of(tensor).to_shard(slab, state_->tensor_of(tensor));
  state_->is_forward_done = false;
}

PassReport RingAttention::forward() {
  return state_->measured(Pass::kForward, [this](PassReport& report) { state_->forward(report); });
}

PassReport RingAttention::backward() {
  if (!state_->schedule->problem().with_gradient || !state_->is_forward_done) {
    throw usage_error("the backward pass needs a problem with gradient, and a forward pass of what was loaded");
  }
  return state_->measured(Pass::kBackward, [this](PassReport& report) { state_->backward(report); });
}

void RingAttention::store(ShardTensor tensor, ElementType type, std::span<std::byte> slab) {
  const Tensor result = state_->tensor_of(tensor);
  const bool is_lse = tensor == ShardTensor::kLse;
  const SlabLayout layout = is_lse ? SlabLayout::kHeadMajor : SlabLayout::kTokenMajor;
  const Redistribution& redistribution = state_->redistribution_of(tensor);
  if (type == result.type && !is_lse) return redistribution.to_slab(result, slab, layout);
  Tensor converted = result;
  converted.type = type;
  const Buffer memory(converted.size_bytes(), state_->meter);
  converted.data = memory.data();
  convert(result, converted, is_lse ? std::numbers::ln2 : 1.0, state_->options.num_threads);
  redistribution.to_slab(converted, slab, layout);
}

const MemoryMeter& RingAttention::memory() const { return *state_->meter; }
const MemoryPrediction& RingAttention::predicted_memory() const { return state_->prediction; }
std::string RingAttention::device() const { return state_->kernels->description(); }

}  // namespace hilbertring

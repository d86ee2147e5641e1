#include "ring/attention_state.h"

#include <numbers>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

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

}  // namespace

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
  if (std::uncaught_exceptions() > num_exceptions) return;
  // Nobody is left to tell, and the process goes on without this memory.
  static_cast<void>(error_of([this] { drop_pass_memory(); }));
}

void RingAttention::State::drop_pass_memory() {
  if (!pass_memory) return;
  if (link) link->let_go();
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

}  // namespace hilbertring

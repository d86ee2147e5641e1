#include "ring/memory_model.h"

#include <algorithm>

#include "core/cpu/cpu_attention.h"
#include "ring/redistribution.h"
#include "ring/shard.h"
#include "ring/visit_buffers.h"

namespace hilbertring {

namespace {

/// What RingAttention::store holds at a time: the result as it will be written, if that is another type, and the messages.
std::int64_t store_bytes(const Schedule& schedule, std::int64_t num_rows, std::int64_t columns, ElementType type, bool is_converted) {
  const Shape& shape = schedule.problem().shape;
  const std::int64_t row_bytes = columns * size_bytes(type);
  const std::int64_t staging = Redistribution::staging_bytes(shape.tokens, schedule.num_ranks(), shape.batch, shape.heads, row_bytes);
  return staging + (is_converted ? shape.batch * shape.heads * num_rows * row_bytes : 0);
}

std::int64_t pass_bytes(const Schedule& schedule, Pass pass, Rank rank) {
  const VisitBufferSizes sizes = visit_buffer_sizes(schedule, pass, rank);
  const std::int64_t visitor_rows = sizes.num_slots > 0 ? schedule.placement().max_rows() : 0;
  return sizes.total_bytes() + times_bytes(schedule.problem(), visitor_rows);
}

}  // namespace

std::int64_t MemoryPrediction::peak_bytes() const {
  return shard_bytes + redistribution_bytes + std::max({setup_bytes, load_bytes, forward_bytes, backward_bytes});
}

MemoryPrediction predict_memory(const Schedule& schedule, Rank rank, int num_threads, ElementType output_type) {
  const Problem& problem = schedule.problem();
  const Shape& shape = problem.shape;
  const std::int64_t ranks = schedule.num_ranks();
  const std::int64_t rows = schedule.placement().num_rows(rank);
  const std::int64_t slab = sequence_slab(shape.tokens, ranks, rank).size();
  const bool has_two_orders = schedule.orders().queries != schedule.orders().keys;
  const std::int64_t input_row = shape.head_dim * size_bytes(problem.type);

  MemoryPrediction memory;
  memory.shard_bytes = Shard::size_bytes(problem, rows) + 2 * times_bytes(problem, rows);
  memory.redistribution_bytes = (has_two_orders ? 2 : 1) * Redistribution::kept_bytes(rows, slab, ranks);
  memory.setup_bytes = Redistribution::setup_bytes(rows, slab) + rows * static_cast<std::int64_t>(sizeof(std::int64_t));
  const std::int64_t load = Redistribution::staging_bytes(shape.tokens, ranks, shape.batch, shape.heads, input_row);
  const std::int64_t store = store_bytes(schedule, rows, shape.head_dim, output_type, output_type != arithmetic_type(problem.type));
  memory.load_bytes = std::max({load, store, store_bytes(schedule, rows, 1, ElementType::kFloat32, true)});
  memory.forward_bytes = pass_bytes(schedule, Pass::kForward, rank);
  memory.backward_bytes = problem.with_gradient ? pass_bytes(schedule, Pass::kBackward, rank) : 0;
  memory.scratch_bytes = num_threads * cpu_scratch_bytes_per_thread(shape.head_dim, problem.type);
  return memory;
}

}  // namespace hilbertring

#include "ring/memory_model.h"

#include <algorithm>

#include "core/cpu/cpu_attention.h"
#include "ring/rank_times.h"
#include "ring/redistribution.h"
#include "ring/shard.h"
#include "ring/staging.h"
#include "ring/visit_buffers.h"

namespace hilbertring {

namespace {

std::int64_t redistribution_staging(const Schedule& schedule, std::int64_t heads, std::int64_t row_bytes) {
  const Shape& shape = schedule.problem().shape;
  return Redistribution::staging_bytes(shape.tokens, schedule.num_ranks(), shape.batch, heads, row_bytes);
}

class Predictor {
 public:
  Predictor(const Schedule& schedule, Rank rank, ElementType output_type, std::int64_t staging_bytes, bool in_legs)
      : schedule_(schedule),
        problem_(schedule.problem()),
        rank_(rank),
        num_rows_(schedule.placement().num_rows(rank)),
        output_type_(output_type),
        staging_bytes_(staging_bytes),
        in_legs_(in_legs),
        is_converted_(output_type != arithmetic_type(problem_.type)) {}

  MemoryPrediction for_cpu(int num_threads) const {
    MemoryPrediction memory = bookkeeping();
    memory.shard_bytes = shard_bytes();
    const std::int64_t output = staging(output_type_) + (is_converted_ ? tensor_bytes(output_type_) : 0);
    memory.load_bytes = std::max({staging(problem_.type), output, lse_staging() + lse_bytes(), in_legs_ ? staging(state_type()) : 0});
    const PassBytes bytes = pass_bytes(MessagePath::kHost);
    memory.pass_bytes = bytes.tensors + bytes.messages + bytes.tables + RankTimes::device_bytes(problem_, bytes.visitor_rows);
    memory.scratch_bytes = num_threads * cpu_scratch_bytes_per_thread(problem_.shape.head_dim, problem_.type);
    return memory;
  }

  /// Tensors pass through the host in pieces; so do all messages, unless devices are linked.
  RankMemory for_cuda(MessagePath path) const {
    RankMemory memory{.host = bookkeeping(), .gpu = {}};
    const std::int64_t columns = problem_.shape.head_dim;
    memory.host.load_bytes =
        std::max({host_bytes_of_pieces(columns * size_bytes(problem_.type)), host_bytes_of_pieces(columns * size_bytes(output_type_)),
                  host_bytes_of_pieces(size_bytes(ElementType::kFloat32)), in_legs_ ? host_bytes_of_pieces(columns * size_bytes(state_type())) : 0});
    memory.host.shard_bytes = 2 * RankTimes::host_bytes(problem_, num_rows_);
    memory.gpu.shard_bytes = shard_bytes();
    memory.gpu.setup_bytes = num_rows_ * static_cast<std::int64_t>(sizeof(std::int64_t));  // which tokens a random tensor takes
    memory.gpu.load_bytes = std::max(is_converted_ ? tensor_bytes(output_type_) : 0, lse_bytes());
    const PassBytes bytes = pass_bytes(path);
    const bool is_linked = path == MessagePath::kLinked;
    memory.host.pass_bytes = (is_linked ? 0 : bytes.messages) + bytes.tables + RankTimes::host_bytes(problem_, bytes.visitor_rows);
    memory.gpu.pass_bytes = bytes.tensors + (is_linked ? bytes.messages : 0) + RankTimes::device_bytes(problem_, bytes.visitor_rows);
    return memory;
  }

 private:
  /// Of all slices.
  struct PassBytes {
    std::int64_t tensors = 0, messages = 0, tables = 0;
    std::int64_t visitor_rows = 0;
  };
  PassBytes pass_bytes(MessagePath path) const {
    PassBytes bytes;
    for (std::int64_t i = 0; i < schedule_.num_slices(); ++i) {
      const VisitBufferSizes sizes = visit_buffer_sizes(schedule_.slice(i), rank_, path, in_legs_);
      bytes.tensors += sizes.tensor_bytes();
      bytes.messages += sizes.message_bytes();
      bytes.tables += sizes.table_bytes();
      if (sizes.num_slots > 0) bytes.visitor_rows = schedule_.placement().max_rows();
    }
    return bytes;
  }

  /// What the host keeps to know which token lies where.
  MemoryPrediction bookkeeping() const {
    const std::int64_t slab = sequence_slab(problem_.shape.tokens, schedule_.num_ranks(), rank_).size();
    const bool has_two_orders = schedule_.orders().queries != schedule_.orders().keys;
    MemoryPrediction memory;
    memory.redistribution_bytes = (has_two_orders ? 2 : 1) * Redistribution::kept_bytes(num_rows_, slab, schedule_.num_ranks());
    memory.setup_bytes = Redistribution::setup_bytes(num_rows_, slab) + num_rows_ * static_cast<std::int64_t>(sizeof(std::int64_t));
    return memory;
  }

  ElementType state_type() const { return arithmetic_type(problem_.type); }
  std::int64_t shard_bytes() const { return Shard::size_bytes(problem_, num_rows_) + 2 * RankTimes::device_bytes(problem_, num_rows_); }
  /// Of the largest tensor in the shard, as `type`.
  std::int64_t tensor_bytes(ElementType type) const {
    return problem_.shape.batch * problem_.shape.heads * num_rows_ * problem_.shape.head_dim * size_bytes(type);
  }
  /// What it takes to bring a tensor of all query heads to the device, or back.
  std::int64_t host_bytes_of_pieces(std::int64_t row_bytes) const {
    const Shape& shape = problem_.shape;
    const std::int64_t heads = heads_per_piece(shape.batch, shape.heads, schedule_.placement().max_rows(), row_bytes, staging_bytes_);
    return Staging::size_bytes(shape.batch, shape.heads, num_rows_, row_bytes, heads) + redistribution_staging(schedule_, heads, row_bytes);
  }
  std::int64_t lse_bytes() const { return problem_.shape.batch * problem_.shape.heads * num_rows_ * size_bytes(ElementType::kFloat32); }
  std::int64_t staging(ElementType type) const {
    return redistribution_staging(schedule_, problem_.shape.heads, problem_.shape.head_dim * size_bytes(type));
  }
  std::int64_t lse_staging() const { return redistribution_staging(schedule_, problem_.shape.heads, size_bytes(ElementType::kFloat32)); }

  const Schedule& schedule_;
  const Problem& problem_;
  Rank rank_;
  std::int64_t num_rows_;
  ElementType output_type_;
  std::int64_t staging_bytes_;
  bool in_legs_;
  bool is_converted_;
};

}  // namespace

std::int64_t MemoryPrediction::peak_bytes() const { return shard_bytes + redistribution_bytes + std::max({setup_bytes, load_bytes, pass_bytes}); }

RankMemory predict_memory(const Schedule& schedule, Rank rank, MessagePath path, int num_threads, ElementType output_type, std::int64_t staging_bytes,
                          bool in_legs) {
  const Predictor predictor(schedule, rank, output_type, staging_bytes, in_legs);
  if (path == MessagePath::kHost) return {.host = predictor.for_cpu(num_threads), .gpu = {}};
  return predictor.for_cuda(path);
}

}  // namespace hilbertring

#include "ring/memory_model.h"

#include <algorithm>
#include <vector>

#include "core/cpu/cpu_attention.h"
#include "ring/rank_times.h"
#include "ring/redistribution.h"
#include "ring/shard.h"
#include "ring/staging.h"
#include "ring/visit_buffers.h"

namespace hilbertring {

namespace {

/// Tensors of a kind, as they come or go.
struct MovedTensor {
  std::int64_t heads, columns;
  ElementType type;
  bool is_converted = false;

  std::int64_t row_bytes() const { return columns * size_bytes(type); }
};

class Predictor {
 public:
  Predictor(const Schedule& schedule, Rank rank, ElementType output_type, std::int64_t staging_bytes, bool in_legs)
      : schedule_(schedule),
        problem_(schedule.problem()),
        shape_(problem_.shape),
        rank_(rank),
        num_rows_(schedule.placement().num_rows(rank)),
        output_type_(output_type),
        staging_bytes_(staging_bytes),
        in_legs_(in_legs) {}

  MemoryPrediction for_cpu(int num_threads) const {
    MemoryPrediction memory = bookkeeping();
    memory.shard_bytes = shard_bytes();
    memory.load_bytes = most_of_tensors(
        [&](const MovedTensor& tensor) { return parts_bytes(tensor, uncut_slabs(shape_.tokens, schedule_.num_ranks())) + converted_bytes(tensor); });
    memory.load_in_pieces_bytes = most_of_tensors([&](const MovedTensor& tensor) {
      const SlabCut cut = cut_of(tensor);
      return parts_bytes(tensor, cut) + shape_.batch * tensor.heads * tensor.row_bytes() * cut.tokens_per_piece + converted_bytes(tensor);
    });
    const PassBytes bytes = pass_bytes(MessagePath::kHost);
    memory.pass_bytes = bytes.tensors + bytes.messages + bytes.tables + RankTimes::device_bytes(problem_, bytes.visitor_rows);
    memory.scratch_bytes = num_threads * cpu_scratch_bytes_per_thread(problem_.shape.head_dim, problem_.type);
    return memory;
  }

  /// Tensors pass through the host in pieces; so do all messages, unless devices are linked.
  RankMemory for_cuda(MessagePath path) const {
    RankMemory memory{.host = bookkeeping(), .gpu = {}};
    memory.host.load_bytes = most_of_tensors(
        [&](const MovedTensor& tensor) { return Staging::size_bytes(cut_of(tensor), shape_.batch, tensor.heads, tensor.row_bytes()); });
    memory.host.load_in_pieces_bytes = memory.host.load_bytes;
    memory.host.shard_bytes = 2 * RankTimes::host_bytes(problem_, num_rows_);
    memory.gpu.shard_bytes = shard_bytes();
    memory.gpu.setup_bytes = num_rows_ * static_cast<std::int64_t>(sizeof(std::int64_t));  // which tokens a random tensor takes
    memory.gpu.load_bytes = most_of_tensors([&](const MovedTensor& tensor) { return converted_bytes(tensor); });
    memory.gpu.load_in_pieces_bytes = memory.gpu.load_bytes;
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
    memory.setup_bytes =
        Redistribution::setup_bytes(num_rows_, slab, schedule_.num_ranks()) + num_rows_ * static_cast<std::int64_t>(sizeof(std::int64_t));
    return memory;
  }

  ElementType state_type() const { return arithmetic_type(problem_.type); }
  std::int64_t shard_bytes() const { return Shard::size_bytes(problem_, num_rows_) + 2 * RankTimes::device_bytes(problem_, num_rows_); }

  /// Inputs, results, and between legs the state. lse is always converted: it is computed to the base 2.
  std::vector<MovedTensor> moved_tensors() const {
    const bool is_converted = output_type_ != state_type();
    std::vector<MovedTensor> tensors{{shape_.heads, 1, ElementType::kFloat32, true}};
    if (in_legs_) tensors.push_back({shape_.heads, 1, state_type()});
    for (const std::int64_t heads : {shape_.heads, shape_.kv_heads}) {
      tensors.push_back({heads, shape_.head_dim, problem_.type});
      const bool is_result = heads == shape_.heads || problem_.with_gradient;
      if (is_result) tensors.push_back({heads, shape_.head_dim, output_type_, is_converted});
      if (is_result && in_legs_) tensors.push_back({heads, shape_.head_dim, state_type()});
    }
    return tensors;
  }
  template <class BytesOf>
  std::int64_t most_of_tensors(const BytesOf& bytes_of) const {
    std::int64_t most = 0;
    for (const MovedTensor& tensor : moved_tensors()) most = std::max<std::int64_t>(most, bytes_of(tensor));
    return most;
  }
  SlabCut cut_of(const MovedTensor& tensor) const {
    return cut_slabs(shape_.tokens, schedule_.num_ranks(), shape_.batch * tensor.heads * tensor.row_bytes(), staging_bytes_);
  }
  std::int64_t parts_bytes(const MovedTensor& tensor, const SlabCut& cut) const {
    return Redistribution::staging_bytes(cut, shape_.batch, tensor.heads, tensor.row_bytes());
  }
  /// A second shard of the tensor, in the type that is asked for.
  std::int64_t converted_bytes(const MovedTensor& tensor) const {
    return tensor.is_converted ? shape_.batch * tensor.heads * num_rows_ * tensor.row_bytes() : 0;
  }

  const Schedule& schedule_;
  const Problem& problem_;
  const Shape& shape_;
  Rank rank_;
  std::int64_t num_rows_;
  ElementType output_type_;
  std::int64_t staging_bytes_;
  bool in_legs_;
};

}  // namespace

std::int64_t MemoryPrediction::peak_with(std::int64_t loading_bytes) const {
  return shard_bytes + redistribution_bytes + std::max({setup_bytes, loading_bytes, pass_bytes});
}

RankMemory predict_memory(const Schedule& schedule, Rank rank, MessagePath path, int num_threads, ElementType output_type, std::int64_t staging_bytes,
                          bool in_legs) {
  const Predictor predictor(schedule, rank, output_type, staging_bytes, in_legs);
  if (path == MessagePath::kHost) return {.host = predictor.for_cpu(num_threads), .gpu = {}};
  return predictor.for_cuda(path);
}

}  // namespace hilbertring

#include "core/cpu/cpu_attention.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "core/buffer.h"
#include "core/cpu/cpu_finish.h"
#include "core/cpu/cpu_passes.h"
#include "core/cpu/cpu_threads.h"
#include "core/error.h"
#include "core/operand_checks.h"

namespace hilbertring {

namespace {

/// Query positions of one forward task: packing a tile of keys costs as much as a dozen rows of work, and a dilated branch meets only every r-th row.
constexpr std::int64_t kForwardPiece = 2048;
/// Positions of the pieces of the backward pass, on both sides. These two numbers decide bits: tiles don't cross the pieces' ends.
constexpr std::int64_t kBackwardPiece = 2048;

/// One piece of a chunk with what its chunk meets.
struct PieceTask {
  ChunkRows piece;
  const Meetings* meetings;
};

/// Pieces from the last to the first: with causality the last have most to do, and the rest fills the gaps that they leave on other threads.
std::vector<PieceTask> piece_tasks(const std::vector<Meetings>& groups, std::int64_t num_positions) {
  std::vector<PieceTask> tasks;
  for (const Meetings& group : groups) {
    for (const ChunkRows& piece : cut_rows(group.chunk, num_positions)) tasks.push_back({piece, &group});
  }
  std::reverse(tasks.begin(), tasks.end());
  return tasks;
}

/// Calls `f(Real{})` with what the folds compute in for a type.
template <class F>
decltype(auto) visit_arithmetic(ElementType type, F&& f) {
  return arithmetic_type(type) == ElementType::kFloat64 ? f(double{}) : f(float{});
}

class CpuAttention final : public BlockAttention {
 public:
  explicit CpuAttention(int num_threads) : num_threads_(num_threads) {}

  std::string description() const override {
    return "CPU, " + cpu_instruction_set() + ", " + std::to_string(num_threads_) + (num_threads_ == 1 ? " thread" : " threads");
  }

  std::int64_t forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_forward(pattern, operands, pairs);
    return visit_arithmetic(operands.q.type, [&]<class Real>(Real) { return forward_in<Real>(pattern, operands, pairs); });
  }

  void finish_forward(const ForwardOperands& operands) override {
    check_state(operands);
    visit_arithmetic(operands.q.type, [&]<class Real>(Real) { finish_rows<Real>(operands, num_threads_); });
  }

  void dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) override {
    check_dot_rows(delta, d_o, o);
    visit_arithmetic(d_o.type, [&]<class Real>(Real) { dot_rows_of<Real>(delta, d_o, o, num_threads_); });
  }

  void backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_backward(pattern, operands, pairs);
    visit_arithmetic(operands.q.type, [&]<class Real>(Real) {
      if (fills_threads(pattern.shape())) {
        backward_by_kv_head<Real>(pattern, operands, pairs);
      } else {
        backward_dq<Real>(pattern, operands, pairs);
        backward_dk_and_dv<Real>(pattern, operands, pairs);
      }
    });
  }

 private:
  template <class Real>
  std::int64_t forward_in(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) {
    const std::vector<Meetings> groups = group_pairs(pairs, &ChunkPair::queries, &ChunkPair::keys);
    const std::vector<PieceTask> pieces = piece_tasks(groups, kForwardPiece);
    const Shape& shape = pattern.shape();
    const std::int64_t num_heads = shape.batch * shape.heads;
    std::atomic<std::int64_t> num_pairs = 0;
    run<Real>(shape.head_dim, std::ssize(pieces) * num_heads, [&](std::int64_t task, const TileMemory<Real>& memory) {
      const PieceTask& piece = pieces[static_cast<std::size_t>(task / num_heads)];
      const std::int64_t head = task % num_heads;
      ForwardPass<Real> pass(pattern, operands, memory);
      num_pairs += pass.fold(head / shape.heads, head % shape.heads, piece.piece, piece.meetings->others);
    });
    return num_pairs;
  }

  /// Whether (batch element, KV head) are tasks enough. Two passes compute 7 products instead of 5: better if more than 2 in 7 threads were idle.
  bool fills_threads(const Shape& shape) const {
    const std::int64_t num_tasks = shape.batch * shape.kv_heads;
    const std::int64_t num_slots = round_up(num_tasks, num_threads_);
    return 7 * num_tasks >= 5 * num_slots;
  }

  /// One pass: a task owns a KV head with its query heads, hence all their gradients, and takes all pairs in their order.
  template <class Real>
  void backward_by_kv_head(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) {
    const Shape& shape = pattern.shape();
    run<Real>(shape.head_dim, shape.batch * shape.kv_heads, [&](std::int64_t task, const TileMemory<Real>& memory) {
      BackwardPass<Real> pass(pattern, operands, memory, {.dq = true, .dk_and_dv = true});
      for (const ChunkPair& pair : pairs) {
        pass.fold(task / shape.kv_heads, heads_of(shape, task % shape.kv_heads), cut_rows(pair.queries, kBackwardPiece),
                  cut_rows(pair.keys, kBackwardPiece));
      }
    });
  }

  /// First of two passes: a task owns a head's piece of queries.
  template <class Real>
  void backward_dq(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) {
    const std::vector<Meetings> groups = group_pairs(pairs, &ChunkPair::queries, &ChunkPair::keys);
    const std::vector<PieceTask> pieces = piece_tasks(groups, kBackwardPiece);
    const Shape& shape = pattern.shape();
    const std::int64_t num_heads = shape.batch * shape.heads;
    run<Real>(shape.head_dim, std::ssize(pieces) * num_heads, [&](std::int64_t task, const TileMemory<Real>& memory) {
      const PieceTask& piece = pieces[static_cast<std::size_t>(task / num_heads)];
      const std::int64_t head = task % shape.heads;
      BackwardPass<Real> pass(pattern, operands, memory, {.dq = true, .dk_and_dv = false});
      for (const ChunkRows& keys : piece.meetings->others) {
        pass.fold(task % num_heads / shape.heads, {head, head + 1}, {&piece.piece, 1}, cut_rows(keys, kBackwardPiece));
      }
    });
  }

  /// Second of two passes: a task owns a KV head's piece of keys.
  template <class Real>
  void backward_dk_and_dv(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) {
    const std::vector<Meetings> groups = group_pairs(pairs, &ChunkPair::keys, &ChunkPair::queries);
    const std::vector<PieceTask> pieces = piece_tasks(groups, kBackwardPiece);
    const Shape& shape = pattern.shape();
    const std::int64_t num_heads = shape.batch * shape.kv_heads;
    run<Real>(shape.head_dim, std::ssize(pieces) * num_heads, [&](std::int64_t task, const TileMemory<Real>& memory) {
      const PieceTask& piece = pieces[static_cast<std::size_t>(task / num_heads)];
      BackwardPass<Real> pass(pattern, operands, memory, {.dq = false, .dk_and_dv = true});
      for (const ChunkRows& queries : piece.meetings->others) {
        pass.fold(task % num_heads / shape.kv_heads, heads_of(shape, task % shape.kv_heads), cut_rows(queries, kBackwardPiece), {&piece.piece, 1});
      }
    });
  }

  static HeadRange heads_of(const Shape& shape, std::int64_t kv_head) {
    return {kv_head * shape.heads_per_kv_head(), (kv_head + 1) * shape.heads_per_kv_head()};
  }

  /// Runs task(index, memory of its thread) on all threads. Memory is kept from call to call.
  template <class Real, class Task>
  void run(std::int64_t head_dim, std::int64_t num_tasks, Task&& task) {
    const std::int64_t num_bytes = TileMemory<Real>::num_bytes(head_dim);
    memory_.resize(static_cast<std::size_t>(num_threads_));
    for (Buffer& buffer : memory_) {
      if (buffer.size_bytes() < num_bytes) buffer = Buffer(num_bytes, nullptr);
    }
    for_each_task(num_threads_, num_tasks,
                  [&](std::int64_t index, int thread) { task(index, TileMemory<Real>(memory_[static_cast<std::size_t>(thread)].data(), head_dim)); });
  }

  int num_threads_;
  std::vector<Buffer> memory_;  ///< [num_threads]
};

}  // namespace

std::unique_ptr<BlockAttention> make_cpu_attention(int num_threads) {
  if (num_threads < 1) throw usage_error("the number of threads is " + std::to_string(num_threads) + ", but must be at least 1");
  return std::make_unique<CpuAttention>(num_threads);
}

std::int64_t cpu_scratch_bytes_per_thread(std::int64_t head_dim, ElementType type) {
  return visit_arithmetic(type, [&]<class Real>(Real) { return TileMemory<Real>::num_bytes(head_dim); });
}

}  // namespace hilbertring

#include "ring/shard.h"

#include <utility>

namespace hilbertring {

namespace {

constexpr std::int64_t kAlignment = 64;

/// Lays tensors one behind the other; with a null base it only counts.
class Layout {
 public:
  explicit Layout(std::byte* base) : base_(base) {}

  Tensor take(ElementType type, const Shape& shape, std::int64_t heads, std::int64_t rows, std::int64_t columns) {
    Tensor tensor{base_ == nullptr ? nullptr : base_ + used_, type, shape.batch, heads, rows, columns};
    used_ += ceil_div(tensor.size_bytes(), kAlignment) * kAlignment;
    return tensor;
  }
  std::int64_t used() const { return used_; }

 private:
  std::byte* base_;
  std::int64_t used_ = 0;
};

std::int64_t lay_out(Shard* shard, std::byte* base, const Problem& problem, std::int64_t rows) {
  const Shape& shape = problem.shape;
  const ElementType real = arithmetic_type(problem.type);
  Layout layout(base);
  const auto place = [&](Tensor Shard::*member, ElementType type, std::int64_t heads, std::int64_t columns) {
    const Tensor tensor = layout.take(type, shape, heads, rows, columns);
    if (shard != nullptr) shard->*member = tensor;
  };
  place(&Shard::q, problem.type, shape.heads, shape.head_dim);
  place(&Shard::k, problem.type, shape.kv_heads, shape.head_dim);
  place(&Shard::v, problem.type, shape.kv_heads, shape.head_dim);
  place(&Shard::o, real, shape.heads, shape.head_dim);
  place(&Shard::row_max, real, shape.heads, 1);
  place(&Shard::row_sum, real, shape.heads, 1);
  if (problem.with_gradient) {
    place(&Shard::d_o, problem.type, shape.heads, shape.head_dim);
    place(&Shard::delta, real, shape.heads, 1);
    place(&Shard::dq, real, shape.heads, shape.head_dim);
    place(&Shard::dk, real, shape.kv_heads, shape.head_dim);
    place(&Shard::dv, real, shape.kv_heads, shape.head_dim);
  }
  return layout.used();
}

}  // namespace

Shard::Shard(const Problem& problem, std::int64_t num_rows, ComputeDevice& device, std::shared_ptr<MemoryMeter> meter)
    : memory(device.allocate(size_bytes(problem, num_rows), std::move(meter))) {
  lay_out(this, memory.data(), problem, num_rows);
}

std::int64_t Shard::size_bytes(const Problem& problem, std::int64_t num_rows) { return lay_out(nullptr, nullptr, problem, num_rows); }

}  // namespace hilbertring

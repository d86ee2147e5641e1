#include "ring/shard.h"

#include <type_traits>

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

template <class T>
void store(T* dst, double value) {
  if constexpr (std::is_same_v<T, Float16>) {
    *dst = to_float16(value);
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    *dst = to_bfloat16(value);
  } else {
    *dst = static_cast<T>(value);
  }
}

}  // namespace

Shard::Shard(const Problem& problem, std::int64_t num_rows, const std::shared_ptr<MemoryMeter>& meter)
    : memory(size_bytes(problem, num_rows), meter) {
  lay_out(this, memory.data(), problem, num_rows);
}

std::int64_t Shard::size_bytes(const Problem& problem, std::int64_t num_rows) { return lay_out(nullptr, nullptr, problem, num_rows); }

std::int64_t times_bytes(const Problem& problem, std::int64_t num_rows) {
  return problem.specification.causal == Causal::kSequence ? num_rows * static_cast<std::int64_t>(sizeof(std::int64_t)) : 0;
}

std::span<std::int64_t> times_in(const Buffer& buffer) {
  return {reinterpret_cast<std::int64_t*>(buffer.data()), static_cast<std::size_t>(buffer.size_bytes()) / sizeof(std::int64_t)};
}

void fill_times(const Order& order, const ChunkPlacement& placement, Rank k, std::span<std::int64_t> times) {
  std::size_t row = 0;
  for (const Range<Position>& span : placement.spans(k)) {
    const auto size = static_cast<std::size_t>(span.size());
    order.fill(span, times.subspan(row, size));
    row += size;
  }
}

void convert(const ConstTensor& src, const Tensor& dst, double factor, int num_threads) {
  const std::int64_t size = src.size_bytes() / hilbertring::size_bytes(src.type);
  visit_element_type(src.type, [&]<class From>(From) {
    visit_element_type(dst.type, [&]<class To>(To) {
      if constexpr (std::is_floating_point_v<From>) {
        const auto* from = reinterpret_cast<const From*>(src.data);
        auto* to = reinterpret_cast<To*>(dst.data);
#pragma omp parallel for num_threads(num_threads)
        for (std::int64_t i = 0; i < size; ++i) store(to + i, factor * static_cast<double>(from[i]));
      }
    });
  });
}

}  // namespace hilbertring

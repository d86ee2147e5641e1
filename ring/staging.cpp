#include "ring/staging.h"

#include <algorithm>

namespace hilbertring {

std::int64_t heads_per_piece(std::int64_t batch, std::int64_t heads, std::int64_t max_rows, std::int64_t row_bytes, std::int64_t max_bytes) {
  return std::clamp<std::int64_t>(max_bytes / std::max<std::int64_t>(1, batch * max_rows * row_bytes), 1, heads);
}

std::int64_t Staging::size_bytes(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t row_bytes, std::int64_t num_heads) {
  return std::min<std::int64_t>(2, ceil_div(heads, num_heads)) * batch * num_heads * rows * row_bytes;
}

Staging::Staging(const Redistribution& redistribution, ComputeDevice& device, const ConstTensor& tensor, std::int64_t num_heads,
                 const std::shared_ptr<MemoryMeter>& meter)
    : redistribution_(redistribution), device_(device), tensor_(tensor), num_heads_(num_heads) {
  const std::int64_t piece_bytes = tensor.batch * num_heads * tensor.rows * tensor.row_bytes();
  for (std::int64_t i = 0; i < std::min<std::int64_t>(2, num_pieces()); ++i) {
    slot(i) = {.memory = device.allocate_shared(piece_bytes, meter), .is_copied = device.make_mark()};
  }
}

Tensor Staging::on_host(std::int64_t piece) {
  return {.data = slot(piece).memory.data(),
          .type = tensor_.type,
          .batch = tensor_.batch,
          .heads = std::min(num_heads_, tensor_.heads - first_head(piece)),
          .rows = tensor_.rows,
          .columns = tensor_.columns};
}

void Staging::load(std::span<const std::byte> slab, const Tensor& target, SlabLayout layout) {
  for (std::int64_t piece = 0; piece < num_pieces(); ++piece) {
    const Tensor host = on_host(piece);
    slot(piece).is_copied->wait();
    redistribution_.to_shard(slab, host, layout, {.first = first_head(piece), .total = tensor_.heads});
    for (std::int64_t b = 0; b < host.batch; ++b) {
      device_.copy_in(target.row(b, first_head(piece), LocalRow(0)), host.row(b, 0, LocalRow(0)), host.size_bytes() / host.batch);
    }
    slot(piece).is_copied->set(WorkQueue::kCompute);
  }
  device_.wait();
}

void Staging::start_copy_out(const ConstTensor& source, std::int64_t piece) {
  const Tensor host = on_host(piece);
  for (std::int64_t b = 0; b < host.batch; ++b) {
    device_.copy_out(host.row(b, 0, LocalRow(0)), source.row(b, first_head(piece), LocalRow(0)), host.size_bytes() / host.batch);
  }
  slot(piece).is_copied->set(WorkQueue::kCompute);
}

void Staging::store(const ConstTensor& source, std::span<std::byte> slab, SlabLayout layout) {
  start_copy_out(source, 0);
  for (std::int64_t piece = 0; piece < num_pieces(); ++piece) {
    if (piece + 1 < num_pieces()) start_copy_out(source, piece + 1);
    slot(piece).is_copied->wait();
    redistribution_.to_slab(on_host(piece), slab, layout, {.first = first_head(piece), .total = tensor_.heads});
  }
}

}  // namespace hilbertring

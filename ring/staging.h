#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/compute_device.h"
#include "ring/redistribution.h"

namespace hilbertring {

/// Heads of a tensor that pass through the host's memory together: the same on all ranks.
/// `row_bytes`: of one head; `max_rows`: of the largest shard; `max_bytes`: that a piece should not exceed, if one head does not.
std::int64_t heads_per_piece(std::int64_t batch, std::int64_t heads, std::int64_t max_rows, std::int64_t row_bytes, std::int64_t max_bytes);

/// Takes tensors between slabs on the host and a shard on a device, a few heads at a time: while one piece is exchanged between ranks, the piece
/// before it (after it, on the way back) is copied by the device. Holds two pieces in shared memory as long as it lives.
class Staging {
 public:
  /// For tensors [batch, heads, rows, D] with `row_bytes` bytes in a row of a head. What is referred to must outlive it.
  Staging(const Redistribution& redistribution, ComputeDevice& device, const ConstTensor& tensor, std::int64_t num_heads,
          const std::shared_ptr<MemoryMeter>& meter);

  /// Collective, as the redistribution is. `target` and `source` lie on the device.
  void load(std::span<const std::byte> slab, const Tensor& target, SlabLayout layout = SlabLayout::kTokenMajor);
  void store(const ConstTensor& source, std::span<std::byte> slab, SlabLayout layout);

  /// Bytes of shared memory for it.
  static std::int64_t size_bytes(std::int64_t batch, std::int64_t heads, std::int64_t rows, std::int64_t row_bytes, std::int64_t num_heads);

 private:
  struct Piece {
    Buffer memory;
    std::unique_ptr<WorkMark> is_copied;
  };
  std::int64_t num_pieces() const { return ceil_div(tensor_.heads, num_heads_); }
  std::int64_t first_head(std::int64_t piece) const { return piece * num_heads_; }
  Piece& slot(std::int64_t piece) { return pieces_[static_cast<std::size_t>(piece % 2)]; }
  Tensor on_host(std::int64_t piece);
  void start_copy_out(const ConstTensor& source, std::int64_t piece);

  const Redistribution& redistribution_;
  ComputeDevice& device_;
  ConstTensor tensor_;  ///< the shape
  std::int64_t num_heads_;
  std::array<Piece, 2> pieces_;
};

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/compute_device.h"
#include "ring/redistribution.h"
#include "ring/staging.h"

namespace hilbertring {

/// Takes tensors [batch, heads, rows, D] of a shard in and out: whole slabs, or piece by piece. Where the device is the host a piece is exchanged
/// straight into the shard, else Staging does it. Calls are collective, as the redistribution is.
class TensorMover {
 public:
  /// Pieces of at most `piece_bytes` (or one token), the same on all ranks. `meter` counts what is held on the host during a call. What is referred
  /// to must outlive it.
  TensorMover(const Redistribution& redistribution, ComputeDevice& device, SlabLayout layout, std::int64_t piece_bytes, int num_threads,
              std::shared_ptr<MemoryMeter> meter);

  void load(std::span<const std::byte> slab, const Tensor& shard) const;
  void store(const Tensor& shard, std::span<std::byte> slab) const;
  void load_in_pieces(const PieceReader& read, const Tensor& shard) const;
  void store_in_pieces(const Tensor& shard, const PieceWriter& write) const;

 private:
  SlabCut cut_of(const ConstTensor& shard) const;
  /// Calls `move` for each piece of this rank's slab, with the same memory.
  void for_each_piece(const ConstTensor& shard, const std::function<void(const SlabPiece& piece, std::span<std::byte> bytes)>& move) const;
  void stage(const Tensor& shard, const std::function<void(Staging&)>& move) const;

  const Redistribution& redistribution_;
  ComputeDevice& device_;
  SlabLayout layout_;
  std::int64_t piece_bytes_;
  int num_threads_;
  std::shared_ptr<MemoryMeter> meter_;
};

}  // namespace hilbertring

#include "ring/tensor_mover.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "ring/agreement.h"

namespace hilbertring {

namespace {

std::int64_t token_bytes(const ConstTensor& tensor) { return tensor.batch * tensor.heads * tensor.row_bytes(); }

/// One thread does not fill the memory's bus.
void copy_in_parallel(std::byte* to, const std::byte* from, std::int64_t num_bytes, int num_threads) {
  constexpr std::int64_t kBlockBytes = std::int64_t{1} << 20;
#pragma omp parallel for schedule(static) num_threads(num_threads) if (num_bytes > kBlockBytes)
  for (std::int64_t begin = 0; begin < num_bytes; begin += kBlockBytes) {
    std::memcpy(to + begin, from + begin, static_cast<std::size_t>(std::min(kBlockBytes, num_bytes - begin)));
  }
}

/// A run of a slab's tokens between the slab and a piece of its own: one stretch of memory per batch element, or per head of one.
class TokenRun {
 public:
  TokenRun(const ConstTensor& shard, SlabLayout layout, Range<SequenceIndex> slab, Range<SequenceIndex> tokens, int num_threads)
      : num_stretches_(shard.batch * (layout == SlabLayout::kHeadMajor ? shard.heads : 1)),
        token_bytes_(token_bytes(shard) / num_stretches_),
        slab_(slab),
        tokens_(tokens),
        num_threads_(num_threads) {}

  void take(std::span<const std::byte> slab, std::span<std::byte> piece) const {
    for_each_stretch([&](std::int64_t in_slab, std::int64_t in_piece, std::int64_t num_bytes) {
      copy_in_parallel(piece.data() + in_piece, slab.data() + in_slab, num_bytes, num_threads_);
    });
  }
  void put(std::span<const std::byte> piece, std::span<std::byte> slab) const {
    for_each_stretch([&](std::int64_t in_slab, std::int64_t in_piece, std::int64_t num_bytes) {
      copy_in_parallel(slab.data() + in_slab, piece.data() + in_piece, num_bytes, num_threads_);
    });
  }

 private:
  template <class Copy>
  void for_each_stretch(const Copy& copy) const {
    for (std::int64_t i = 0; i < num_stretches_; ++i) {
      copy((i * slab_.size() + (tokens_.begin - slab_.begin)) * token_bytes_, i * tokens_.size() * token_bytes_, tokens_.size() * token_bytes_);
    }
  }

  std::int64_t num_stretches_, token_bytes_;
  Range<SequenceIndex> slab_, tokens_;
  int num_threads_;
};

}  // namespace

TensorMover::TensorMover(const Redistribution& redistribution, ComputeDevice& device, SlabLayout layout, std::int64_t piece_bytes, int num_threads,
                         std::shared_ptr<MemoryMeter> meter)
    : redistribution_(redistribution),
      device_(device),
      layout_(layout),
      piece_bytes_(piece_bytes),
      num_threads_(num_threads),
      meter_(std::move(meter)) {}

SlabCut TensorMover::cut_of(const ConstTensor& shard) const { return redistribution_.cut(token_bytes(shard), piece_bytes_); }

void TensorMover::for_each_piece(const ConstTensor& shard, const std::function<void(const SlabPiece&, std::span<std::byte>)>& move) const {
  const SlabCut cut = cut_of(shard);
  Buffer memory;
  agree(redistribution_.transport(), [&] { memory = Buffer(cut.tokens_per_piece * token_bytes(shard), meter_); });
  for (SlabPiece piece{cut}; piece.index < cut.num_pieces(); ++piece.index) {
    const std::int64_t num_tokens = piece.of(redistribution_.transport().rank()).size();
    move(piece, memory.bytes().first(static_cast<std::size_t>(num_tokens * token_bytes(shard))));
  }
}

void TensorMover::stage(const Tensor& shard, const std::function<void(Staging&)>& move) const {
  std::optional<Staging> staging;
  agree(redistribution_.transport(), [&] { staging.emplace(redistribution_, device_, shard, layout_, cut_of(shard), meter_); });
  move(*staging);
}

void TensorMover::load(std::span<const std::byte> slab, const Tensor& shard) const {
  if (device_.is_host()) return redistribution_.to_shard(slab, shard, layout_);
  redistribution_.require_slab(shard, slab.size());
  stage(shard, [&](Staging& staging) {
    staging.load([&](Range<SequenceIndex> tokens, std::span<std::byte> piece) {
      TokenRun(shard, layout_, redistribution_.slab(), tokens, num_threads_).take(slab, piece);
    });
  });
}

void TensorMover::store(const Tensor& shard, std::span<std::byte> slab) const {
  if (device_.is_host()) return redistribution_.to_slab(shard, slab, layout_);
  redistribution_.require_slab(shard, slab.size());
  stage(shard, [&](Staging& staging) {
    staging.store([&](Range<SequenceIndex> tokens, std::span<const std::byte> piece) {
      TokenRun(shard, layout_, redistribution_.slab(), tokens, num_threads_).put(piece, slab);
    });
  });
}

void TensorMover::load_in_pieces(const PieceReader& read, const Tensor& shard) const {
  if (!device_.is_host()) return stage(shard, [&](Staging& staging) { staging.load(read); });
  for_each_piece(shard, [&](const SlabPiece& piece, std::span<std::byte> bytes) {
    read(piece.of(redistribution_.transport().rank()), bytes);
    redistribution_.to_shard(bytes, shard, layout_, piece);
  });
}

void TensorMover::store_in_pieces(const Tensor& shard, const PieceWriter& write) const {
  if (!device_.is_host()) return stage(shard, [&](Staging& staging) { staging.store(write); });
  for_each_piece(shard, [&](const SlabPiece& piece, std::span<std::byte> bytes) {
    redistribution_.to_slab(shard, bytes, layout_, piece);
    write(piece.of(redistribution_.transport().rank()), bytes);
  });
}

}  // namespace hilbertring

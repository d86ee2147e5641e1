#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/buffer.h"
#include "core/index.h"
#include "core/tensor.h"
#include "ring/row_exchange.h"
#include "ring/transport.h"

namespace hilbertring {

/// The tokens whose rows of the file a rank reads and writes: a contiguous run, as equal as possible, the first num_tokens % num_ranks ranks one
/// more.
Range<SequenceIndex> sequence_slab(std::int64_t num_tokens, std::int64_t num_ranks, Rank rank);
/// The rank whose slab holds the token. O(1).
Rank slab_owner(std::int64_t num_tokens, std::int64_t num_ranks, SequenceIndex token);

/// How a slab lies in memory: [B, n_slab, heads, D] (q, k, v, o and gradients in files) or [B, heads, n_slab, D] (lse, with D = 1).
enum class SlabLayout { kTokenMajor, kHeadMajor };
enum class Direction { kToShard, kToSlab };

/// Slabs cut into pieces of `tokens_per_piece` tokens (at least one; the last may be short, or empty): as many on every rank, piece i of all ranks is
/// moved together.
struct SlabCut {
  std::int64_t num_tokens = 0, num_ranks = 1;
  std::int64_t tokens_per_piece = 1;

  std::int64_t num_pieces() const { return ceil_div(ceil_div(num_tokens, num_ranks), tokens_per_piece); }
};
/// Into as few pieces as can be, of at most `max_bytes` each or else of one token.
SlabCut cut_slabs(std::int64_t num_tokens, std::int64_t num_ranks, std::int64_t token_bytes, std::int64_t max_bytes);
/// Each slab in one piece.
SlabCut uncut_slabs(std::int64_t num_tokens, std::int64_t num_ranks);

/// A piece of each rank's slab.
struct SlabPiece {
  SlabCut cut;
  std::int64_t index = 0;

  Range<SequenceIndex> of(Rank rank) const;
};

/// How rows of [B, n, heads, D] or [B, heads, n, D] lie, n being these tokens: row t is token t.
template <class Byte>
StridedRows<Byte> slab_rows(Byte* data, SlabLayout layout, Range<SequenceIndex> tokens, std::int64_t heads, std::int64_t row_bytes) {
  const std::int64_t batch_stride = tokens.size() * heads * row_bytes;
  const bool is_token_major = layout == SlabLayout::kTokenMajor;
  return {.data = data,
          .batch_stride = batch_stride,
          .head_stride = is_token_major ? row_bytes : tokens.size() * row_bytes,
          .row_stride = is_token_major ? heads * row_bytes : row_bytes,
          .first_row = tokens.begin.value};
}

/// Moves rows between slabs (sequence order, as in files) and shards (any order: the rows that a rank works on), both ways, for tensors of any type,
/// heads and columns. Rows are moved as bytes; heads and tokens change places on the way.
///
/// Worked example: N = 8, P = 4, order = 7 6 5 4 3 2 1 0, one head, entries are their sequence index.
///   rank          0     1     2     3
///   slab          0 1   2 3   4 5   6 7
///   rows          7 6   5 4   3 2   1 0     (what each rank asked for in the constructor)
///   to_shard ->   7 6   5 4   3 2   1 0
///   to_slab  ->   0 1   2 3   4 5   6 7
///
/// A call goes through rounds r = 1 .. P-1: to rank + r, from rank - r, in parts of about kPartBytes, so that packing, travel and unpacking overlap;
/// what stays on the rank is copied once. Messages have the tag kTag. No rank holds more than its slab, its shard and four parts.
class Redistribution {
 public:
  static constexpr int kTag = 4095;
  static constexpr std::int64_t kPartBytes = std::int64_t{1} << 20;

  /// `rows[i]` is the sequence index of local row i; over all ranks every token 0 .. num_tokens-1 must occur once. Collective. `transport` must
  /// outlive the object; `num_threads` pack and unpack; `meter` (may be null) counts all buffers. Throws the same input_error on all ranks if a row
  /// is no token, or if a token occurs never or more than once: "order is no permutation: token 17 occurs 2 times".
  Redistribution(Transport& transport, std::int64_t num_tokens, std::span<const std::int64_t> rows, std::shared_ptr<MemoryMeter> meter = nullptr,
                 int num_threads = 1);

  Range<SequenceIndex> slab() const { return slab_; }
  std::int64_t num_local_rows() const { return num_local_; }

  /// slab: B * n_slab * heads * D elements in `layout`, host; shard: [B, heads, n_local, D], host, all rows overwritten. Collective; B, heads, D and
  /// type must be the same on all ranks. Throws usage_error when a size does not fit.
  void to_shard(std::span<const std::byte> slab, const Tensor& shard, SlabLayout layout = SlabLayout::kTokenMajor) const;
  void to_slab(const ConstTensor& shard, std::span<std::byte> slab, SlabLayout layout = SlabLayout::kTokenMajor) const;
  /// Likewise a piece of the slabs, laid out as a slab of its tokens; of the shard, the rows of these tokens.
  void to_shard(std::span<const std::byte> slab, const Tensor& shard, SlabLayout layout, const SlabPiece& piece) const;
  void to_slab(const ConstTensor& shard, std::span<std::byte> slab, SlabLayout layout, const SlabPiece& piece) const;

  // What a call goes through, for those whose shards lie elsewhere (staging.h).
  SlabCut cut(std::int64_t token_bytes, std::int64_t max_bytes) const {
    return cut_slabs(num_tokens_, transport_->num_ranks(), token_bytes, max_bytes);
  }
  Transport& transport() const { return *transport_; }
  /// Rows of the shard by the rank whose slab has them; tokens of the slab by the rank whose shard has them. They refer to this object.
  RowLists local_lists(const SlabPiece& piece) const;
  RowLists slab_lists(const SlabPiece& piece) const;
  RowExchange exchange_of(const ConstTensor& shard, const SlabCut& cut) const;
  /// Throws usage_error unless these are the sizes of shard and slab.
  void require_slab(const ConstTensor& shard, std::size_t num_slab_bytes) const { require_sizes(shard, whole_slab(), num_slab_bytes); }

  /// Bytes that a call hands to Transport::send for other ranks: the rows that leave this rank. row_bytes: of one head, D * sizeof(element).
  std::int64_t sent_bytes(Direction direction, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes) const;
  /// Likewise for the constructor: 8 bytes per rank asked and per row asked for.
  std::int64_t setup_sent_bytes() const;

  /// Bytes of buffers held as long as the object lives: 8 per row of the slab, 16 per row of the shard, and where each rank's rows begin.
  static std::int64_t kept_bytes(std::int64_t num_local, std::int64_t num_slab, std::int64_t num_ranks);
  /// Bytes held on top during the constructor: 16 per local row while they are sorted, when the slab's lists are not there yet; later two bits per
  /// slab row.
  static std::int64_t setup_bytes(std::int64_t num_local, std::int64_t num_slab, std::int64_t num_ranks);
  /// Bytes held on top during to_shard and to_slab: four parts (none on a single rank).
  static std::int64_t staging_bytes(const SlabCut& cut, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes);
  /// Rows of a part: the same on both sides, hence a function of what all ranks know.
  static std::int64_t rows_per_part(const SlabCut& cut, std::int64_t batch, std::int64_t token_bytes);

 private:
  void require_tokens(std::span<const std::int64_t> rows) const;
  void sort_by_token(std::span<const std::int64_t> rows);
  void exchange_counts();
  void exchange_requests();
  void require_permutation() const;

  std::int64_t num_rows_of(Rank slab_owner) const;
  SlabPiece whole_slab() const { return {uncut_slabs(num_tokens_, transport_->num_ranks())}; }
  void require_sizes(const ConstTensor& shard, const SlabPiece& piece, std::size_t num_slab_bytes) const;

  Transport* transport_;
  std::shared_ptr<MemoryMeter> meter_;
  std::int64_t num_tokens_;
  std::int64_t num_local_;
  int num_threads_;
  Range<SequenceIndex> slab_;
  // For each rank the rows exchanged with it, ascending by sequence index on both sides: entry i of the one is entry i of the other.
  Buffer local_rows_, local_tokens_, local_begin_;  ///< int64 [n_local], [n_local], [P + 1]: local rows and their tokens by slab owner
  Buffer slab_tokens_, slab_begin_;                 ///< int64 [n_slab], [P + 1]: tokens of the slab by the rank that asked for them
};

}  // namespace hilbertring

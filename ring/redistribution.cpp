#include "ring/redistribution.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "core/error.h"
#include "ring/agreement.h"

namespace hilbertring {

namespace {

std::span<std::int64_t> indices(const Buffer& buffer) {
  return {reinterpret_cast<std::int64_t*>(buffer.data()), static_cast<std::size_t>(buffer.size_bytes()) / sizeof(std::int64_t)};
}

constexpr std::int64_t kIndexBytes = sizeof(std::int64_t);

Buffer make_indices(std::int64_t count, const std::shared_ptr<MemoryMeter>& meter) { return {count * kIndexBytes, meter}; }

Buffer make_zero_indices(std::int64_t count, const std::shared_ptr<MemoryMeter>& meter) {
  Buffer buffer = make_indices(count, meter);
  buffer.fill_zero();
  return buffer;
}

std::int64_t count_of(std::span<const std::int64_t> list) { return static_cast<std::int64_t>(list.size()); }

std::int64_t bitmap_bytes(std::int64_t num_bits) { return ceil_div(num_bits, 8); }

/// Sets the bit; whether it was set before.
bool test_and_set(const Buffer& bitmap, std::int64_t index) {
  const auto bit = std::byte{1} << static_cast<unsigned>(index % 8);
  std::byte& byte = bitmap.data()[index / 8];
  const bool was_set = (byte & bit) != std::byte{0};
  byte |= bit;
  return was_set;
}

struct SortedRow {
  std::int64_t token;
  std::int64_t local_row;
};

void require_size(const char* what, std::int64_t given, std::int64_t needed, const char* unit) {
  if (given == needed) return;
  throw usage_error(std::string(what) + " has " + std::to_string(given) + " " + unit + "; redistribution needs " + std::to_string(needed));
}

}  // namespace

Range<SequenceIndex> sequence_slab(std::int64_t num_tokens, std::int64_t num_ranks, Rank rank) {
  const std::int64_t share = num_tokens / num_ranks;
  const std::int64_t num_longer = num_tokens % num_ranks;
  const SequenceIndex begin(rank.value * share + std::min(rank.value, num_longer));
  return {begin, begin + share + (rank.value < num_longer ? 1 : 0)};
}

Rank slab_owner(std::int64_t num_tokens, std::int64_t num_ranks, SequenceIndex token) {
  const std::int64_t share = num_tokens / num_ranks;
  const std::int64_t num_longer = num_tokens % num_ranks;
  const std::int64_t in_longer = num_longer * (share + 1);
  return Rank(token.value < in_longer ? token.value / (share + 1) : num_longer + (token.value - in_longer) / share);
}

SlabCut uncut_slabs(std::int64_t num_tokens, std::int64_t num_ranks) {
  return {num_tokens, num_ranks, std::max<std::int64_t>(1, ceil_div(num_tokens, num_ranks))};
}

SlabCut cut_slabs(std::int64_t num_tokens, std::int64_t num_ranks, std::int64_t token_bytes, std::int64_t max_bytes) {
  SlabCut cut = uncut_slabs(num_tokens, num_ranks);
  cut.tokens_per_piece = std::clamp<std::int64_t>(max_bytes / std::max<std::int64_t>(1, token_bytes), 1, cut.tokens_per_piece);
  return cut;
}

Range<SequenceIndex> SlabPiece::of(Rank rank) const {
  const Range<SequenceIndex> slab = sequence_slab(cut.num_tokens, cut.num_ranks, rank);
  const SequenceIndex begin = slab.begin + index * cut.tokens_per_piece;
  return intersection(slab, {begin, begin + cut.tokens_per_piece});
}

Redistribution::Redistribution(Transport& transport, std::int64_t num_tokens, std::span<const std::int64_t> rows, std::shared_ptr<MemoryMeter> meter,
                               int num_threads)
    : transport_(&transport),
      meter_(std::move(meter)),
      num_tokens_(num_tokens),
      num_local_(count_of(rows)),
      num_threads_(num_threads),
      slab_(sequence_slab(num_tokens, transport.num_ranks(), transport.rank())) {
  agree(transport, [&] {
    require_tokens(rows);
    sort_by_token(rows);
    slab_begin_ = make_zero_indices(transport.num_ranks() + 1, meter_);
  });
  exchange_counts();
  agree(transport, [&] { slab_tokens_ = make_indices(indices(slab_begin_).back(), meter_); });
  exchange_requests();
  require_permutation();
}

void Redistribution::require_tokens(std::span<const std::int64_t> rows) const {
  const auto wrong = std::find_if(rows.begin(), rows.end(), [&](std::int64_t token) { return token < 0 || token >= num_tokens_; });
  if (wrong == rows.end()) return;
  throw input_error("order is no permutation: local row " + std::to_string(wrong - rows.begin()) + " of rank " +
                    std::to_string(transport_->rank().value) + " has token " + std::to_string(*wrong) + "; tokens are 0 to " +
                    std::to_string(num_tokens_ - 1));
}

// Slab owners ascend with tokens.
void Redistribution::sort_by_token(std::span<const std::int64_t> rows) {
  Buffer sorting(num_local_ * std::int64_t{sizeof(SortedRow)}, meter_);
  const std::span<SortedRow> sorted{reinterpret_cast<SortedRow*>(sorting.data()), rows.size()};
  for (std::size_t i = 0; i < rows.size(); ++i) sorted[i] = {.token = rows[i], .local_row = static_cast<std::int64_t>(i)};
  std::ranges::sort(sorted, {}, &SortedRow::token);

  local_rows_ = make_indices(num_local_, meter_);
  local_tokens_ = make_indices(num_local_, meter_);
  local_begin_ = make_zero_indices(transport_->num_ranks() + 1, meter_);
  const auto begin = indices(local_begin_);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SortedRow row = sorted[i];
    ++begin[static_cast<std::size_t>(slab_owner(num_tokens_, transport_->num_ranks(), SequenceIndex(row.token)).value) + 1];
    indices(local_rows_)[i] = row.local_row;
    indices(local_tokens_)[i] = row.token;
  }
  std::inclusive_scan(begin.begin(), begin.end(), begin.begin());
}

void Redistribution::exchange_counts() {
  const std::int64_t num_ranks = transport_->num_ranks();
  const std::int64_t me = transport_->rank().value;
  const auto counts = indices(slab_begin_).subspan(1);
  counts[static_cast<std::size_t>(me)] = num_rows_of(Rank(me));
  for (std::int64_t d = 1; d < num_ranks; ++d) {
    const Rank to((me + d) % num_ranks), from((me - d + num_ranks) % num_ranks);
    const std::int64_t count = num_rows_of(to);
    const Transfer receive = transport_->receive(std::as_writable_bytes(counts.subspan(static_cast<std::size_t>(from.value), 1)), from, kTag);
    const Transfer send = transport_->send(std::as_bytes(std::span(&count, 1)), to, kTag);
    send->wait();
    receive->wait();
  }
  std::inclusive_scan(counts.begin(), counts.end(), counts.begin());
}

void Redistribution::exchange_requests() {
  // The tokens of a rank lie where the lists of rows for that rank do, so they travel in place on both sides.
  const auto part_of = [](const Buffer& all, const Buffer& begins, Rank rank) {
    const auto begin = indices(begins).subspan(static_cast<std::size_t>(rank.value), 2);
    return indices(all).subspan(static_cast<std::size_t>(begin[0]), static_cast<std::size_t>(begin[1] - begin[0]));
  };
  const std::int64_t num_ranks = transport_->num_ranks();
  const Rank me = transport_->rank();
  std::ranges::copy(part_of(local_tokens_, local_begin_, me), part_of(slab_tokens_, slab_begin_, me).begin());
  for (std::int64_t d = 1; d < num_ranks; ++d) {
    const Rank to((me.value + d) % num_ranks), from((me.value - d + num_ranks) % num_ranks);
    const Transfer receive = transport_->receive(std::as_writable_bytes(part_of(slab_tokens_, slab_begin_, from)), from, kTag);
    const Transfer send = transport_->send(std::as_bytes(part_of(local_tokens_, local_begin_, to)), to, kTag);
    send->wait();
    receive->wait();
  }
}

// Every token of the slab must have been asked for once. All ranks agree on the lowest token that was not, and throw the same line.
void Redistribution::require_permutation() const {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  Buffer seen(bitmap_bytes(slab_.size()), meter_), repeated(bitmap_bytes(slab_.size()), meter_);
  seen.fill_zero();
  repeated.fill_zero();
  for (const std::int64_t token : indices(slab_tokens_)) {
    const std::int64_t row = token - slab_.begin.value;
    if (test_and_set(seen, row)) test_and_set(repeated, row);
  }
  std::int64_t wrong = kNone;
  for (std::int64_t row = 0; row < slab_.size() && wrong == kNone; ++row) {
    if (!test_and_set(seen, row) || test_and_set(repeated, row)) wrong = slab_.begin.value + row;
  }

  std::int64_t lowest = wrong;
  transport_->all_reduce(std::span(&lowest, 1), Reduction::kMin);
  if (lowest == kNone) return;
  std::int64_t times = wrong == lowest ? std::ranges::count(indices(slab_tokens_), wrong) : 0;
  transport_->all_reduce(std::span(&times, 1), Reduction::kMax);
  throw input_error("order is no permutation: token " + std::to_string(lowest) + " occurs " + std::to_string(times) + " times");
}

std::int64_t Redistribution::num_rows_of(Rank slab_owner) const {
  const auto begin = indices(local_begin_).subspan(static_cast<std::size_t>(slab_owner.value), 2);
  return begin[1] - begin[0];
}

RowLists Redistribution::local_lists(const SlabPiece& piece) const {
  return {.rows = indices(local_rows_), .begin = indices(local_begin_), .tokens = indices(local_tokens_), .part_taken = [piece](Rank slab_owner) {
            return piece.of(slab_owner);
          }};
}

RowLists Redistribution::slab_lists(const SlabPiece& piece) const {
  return {.rows = indices(slab_tokens_),
          .begin = indices(slab_begin_),
          .tokens = indices(slab_tokens_),
          .part_taken = [mine = piece.of(transport_->rank())](Rank) { return mine; }};
}

namespace {

template <class Byte>
StridedRows<Byte> shard_rows(const BasicTensor<Byte>& shard) {
  return slab_rows(shard.data, SlabLayout::kHeadMajor, {SequenceIndex(0), SequenceIndex(shard.rows)}, shard.heads, shard.row_bytes());
}

/// The exchange with all ranks, this one too.
void move_rows(Transport& transport, const RowExchange& exchange, const StridedRows<const std::byte>& from, const RowLists& from_lists,
               const StridedRows<std::byte>& to, const RowLists& to_lists) {
  HostSource source(exchange, from);
  HostTarget target(exchange, to);
  RowExchanger(transport, exchange).exchange(source, from_lists, target, to_lists);
  copy_own_rows(exchange, from, from_lists.of(transport.rank()), to, to_lists.of(transport.rank()));
}

}  // namespace

RowExchange Redistribution::exchange_of(const ConstTensor& shard, const SlabCut& cut) const {
  return {.batch = shard.batch,
          .heads = shard.heads,
          .row_bytes = shard.row_bytes(),
          .rows_per_part = rows_per_part(cut, shard.batch, shard.heads * shard.row_bytes()),
          .tag = kTag,
          .num_threads = num_threads_,
          .meter = meter_};
}

void Redistribution::require_sizes(const ConstTensor& shard, const SlabPiece& piece, std::size_t num_slab_bytes) const {
  const std::int64_t num_tokens = piece.of(transport_->rank()).size();
  require_size("shard", shard.rows, num_local_, "rows");
  require_size("slab", static_cast<std::int64_t>(num_slab_bytes), shard.batch * num_tokens * shard.heads * shard.row_bytes(), "bytes");
}

void Redistribution::to_shard(std::span<const std::byte> slab, const Tensor& shard, SlabLayout layout) const {
  to_shard(slab, shard, layout, whole_slab());
}
void Redistribution::to_slab(const ConstTensor& shard, std::span<std::byte> slab, SlabLayout layout) const {
  to_slab(shard, slab, layout, whole_slab());
}

void Redistribution::to_shard(std::span<const std::byte> slab, const Tensor& shard, SlabLayout layout, const SlabPiece& piece) const {
  require_sizes(shard, piece, slab.size());
  const auto from = slab_rows(slab.data(), layout, piece.of(transport_->rank()), shard.heads, shard.row_bytes());
  move_rows(*transport_, exchange_of(shard, piece.cut), from, slab_lists(piece), shard_rows(shard), local_lists(piece));
}

void Redistribution::to_slab(const ConstTensor& shard, std::span<std::byte> slab, SlabLayout layout, const SlabPiece& piece) const {
  require_sizes(shard, piece, slab.size());
  const auto to = slab_rows(slab.data(), layout, piece.of(transport_->rank()), shard.heads, shard.row_bytes());
  move_rows(*transport_, exchange_of(shard, piece.cut), shard_rows(shard), local_lists(piece), to, slab_lists(piece));
}

std::int64_t Redistribution::sent_bytes(Direction direction, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes) const {
  const std::int64_t num_rows = direction == Direction::kToShard ? slab_.size() : num_local_;
  return (num_rows - num_rows_of(transport_->rank())) * batch * heads * row_bytes;
}

std::int64_t Redistribution::setup_sent_bytes() const {
  const std::int64_t num_asked = num_local_ - num_rows_of(transport_->rank());
  return kIndexBytes * (num_asked + transport_->num_ranks() - 1);
}

std::int64_t Redistribution::kept_bytes(std::int64_t num_local, std::int64_t num_slab, std::int64_t num_ranks) {
  return kIndexBytes * (2 * num_local + num_slab + 2 * (num_ranks + 1));
}

std::int64_t Redistribution::setup_bytes(std::int64_t num_local, std::int64_t num_slab, std::int64_t num_ranks) {
  const std::int64_t slab_lists = kIndexBytes * (num_slab + num_ranks + 1);
  return std::max(std::int64_t{sizeof(SortedRow)} * num_local - slab_lists, 2 * bitmap_bytes(num_slab));
}

std::int64_t Redistribution::rows_per_part(const SlabCut& cut, std::int64_t batch, std::int64_t token_bytes) {
  // No pair of ranks has more rows in common than a piece of a slab holds.
  const std::int64_t most = batch * cut.tokens_per_piece;
  return std::clamp<std::int64_t>(kPartBytes / std::max<std::int64_t>(1, token_bytes), 1, most);
}

std::int64_t Redistribution::staging_bytes(const SlabCut& cut, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes) {
  if (cut.num_ranks == 1) return 0;
  return kPartsHeld * rows_per_part(cut, batch, heads * row_bytes) * heads * row_bytes;
}

}  // namespace hilbertring

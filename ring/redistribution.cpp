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

/// Rows per message: the same on both sides, hence a function of what all ranks know. No pair of ranks has more rows in common than a slab holds.
std::int64_t rows_per_part(std::int64_t num_tokens, std::int64_t num_ranks, std::int64_t batch, std::int64_t token_bytes) {
  const std::int64_t most = std::max<std::int64_t>(1, batch * ceil_div(num_tokens, num_ranks));
  return std::clamp<std::int64_t>(Redistribution::kPartBytes / std::max<std::int64_t>(1, token_bytes), 1, most);
}

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

Redistribution::Redistribution(Transport& transport, std::int64_t num_tokens, std::span<const std::int64_t> rows, std::shared_ptr<MemoryMeter> meter,
                               int num_threads)
    : transport_(&transport),
      meter_(std::move(meter)),
      num_tokens_(num_tokens),
      num_local_(count_of(rows)),
      num_threads_(num_threads),
      slab_(sequence_slab(num_tokens, transport.num_ranks(), transport.rank())) {
  Buffer wanted;
  agree(transport, [&] {
    require_tokens(rows);
    wanted = sort_by_token(rows);
    slab_begin_ = make_zero_indices(transport.num_ranks() + 1, meter_);
  });
  exchange_counts();
  agree(transport, [&] { slab_rows_ = make_indices(indices(slab_begin_).back(), meter_); });
  exchange_requests(indices(wanted).first(rows.size()));
  require_permutation();
}

void Redistribution::require_tokens(std::span<const std::int64_t> rows) const {
  const auto wrong = std::find_if(rows.begin(), rows.end(), [&](std::int64_t token) { return token < 0 || token >= num_tokens_; });
  if (wrong == rows.end()) return;
  throw input_error("order is no permutation: local row " + std::to_string(wrong - rows.begin()) + " of rank " +
                    std::to_string(transport_->rank().value) + " has token " + std::to_string(*wrong) + "; tokens are 0 to " +
                    std::to_string(num_tokens_ - 1));
}

// Returns the tokens ascending; fills local_rows_ and local_begin_ to match.
Buffer Redistribution::sort_by_token(std::span<const std::int64_t> rows) {
  Buffer sorting(num_local_ * std::int64_t{sizeof(SortedRow)}, meter_);
  const std::span<SortedRow> sorted{reinterpret_cast<SortedRow*>(sorting.data()), rows.size()};
  for (std::size_t i = 0; i < rows.size(); ++i) sorted[i] = {.token = rows[i], .local_row = static_cast<std::int64_t>(i)};
  std::ranges::sort(sorted, {}, &SortedRow::token);

  local_rows_ = make_indices(num_local_, meter_);
  local_begin_ = make_zero_indices(transport_->num_ranks() + 1, meter_);
  const auto begin = indices(local_begin_);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const SortedRow row = sorted[i];
    ++begin[static_cast<std::size_t>(slab_owner(num_tokens_, transport_->num_ranks(), SequenceIndex(row.token)).value) + 1];
    indices(local_rows_)[i] = row.local_row;
    indices(sorting)[i] = row.token;  // in front of, or in, the pair just read
  }
  std::inclusive_scan(begin.begin(), begin.end(), begin.begin());
  return sorting;
}

void Redistribution::exchange_counts() {
  const std::int64_t num_ranks = transport_->num_ranks();
  const std::int64_t me = transport_->rank().value;
  const auto counts = indices(slab_begin_).subspan(1);
  counts[static_cast<std::size_t>(me)] = local_lists().count(Rank(me));
  for (std::int64_t d = 1; d < num_ranks; ++d) {
    const Rank to((me + d) % num_ranks), from((me - d + num_ranks) % num_ranks);
    const std::int64_t count = local_lists().count(to);
    const Transfer receive = transport_->receive(std::as_writable_bytes(counts.subspan(static_cast<std::size_t>(from.value), 1)), from, kTag);
    const Transfer send = transport_->send(std::as_bytes(std::span(&count, 1)), to, kTag);
    send->wait();
    receive->wait();
  }
  std::inclusive_scan(counts.begin(), counts.end(), counts.begin());
}

void Redistribution::exchange_requests(std::span<const std::int64_t> wanted) {
  // The tokens of a rank lie where the lists of rows for that rank do, so they travel in place on both sides.
  const auto part_of = [](auto all, const RowLists& lists, Rank rank) {
    return all.subspan(static_cast<std::size_t>(lists.begin[static_cast<std::size_t>(rank.value)]), static_cast<std::size_t>(lists.count(rank)));
  };
  const std::int64_t num_ranks = transport_->num_ranks();
  const Rank me = transport_->rank();
  const auto asked = indices(slab_rows_);
  std::ranges::copy(part_of(wanted, local_lists(), me), part_of(asked, slab_lists(), me).begin());
  for (std::int64_t d = 1; d < num_ranks; ++d) {
    const Rank to((me.value + d) % num_ranks), from((me.value - d + num_ranks) % num_ranks);
    const Transfer receive = transport_->receive(std::as_writable_bytes(part_of(asked, slab_lists(), from)), from, kTag);
    const Transfer send = transport_->send(std::as_bytes(part_of(wanted, local_lists(), to)), to, kTag);
    send->wait();
    receive->wait();
  }
  for (std::int64_t& row : asked) row -= slab_.begin.value;
}

// Every token of the slab must have been asked for once. All ranks agree on the lowest token that was not, and throw the same line.
void Redistribution::require_permutation() const {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  Buffer seen(bitmap_bytes(slab_.size()), meter_), repeated(bitmap_bytes(slab_.size()), meter_);
  seen.fill_zero();
  repeated.fill_zero();
  for (const std::int64_t row : indices(slab_rows_)) {
    if (test_and_set(seen, row)) test_and_set(repeated, row);
  }
  std::int64_t wrong = kNone;
  for (std::int64_t row = 0; row < slab_.size() && wrong == kNone; ++row) {
    if (!test_and_set(seen, row) || test_and_set(repeated, row)) wrong = slab_.begin.value + row;
  }

  std::int64_t lowest = wrong;
  transport_->all_reduce(std::span(&lowest, 1), Reduction::kMin);
  if (lowest == kNone) return;
  std::int64_t times = wrong == lowest ? std::ranges::count(indices(slab_rows_), wrong - slab_.begin.value) : 0;
  transport_->all_reduce(std::span(&times, 1), Reduction::kMax);
  throw input_error("order is no permutation: token " + std::to_string(lowest) + " occurs " + std::to_string(times) + " times");
}

RowLists Redistribution::local_lists() const { return {indices(local_rows_), indices(local_begin_)}; }
RowLists Redistribution::slab_lists() const { return {indices(slab_rows_), indices(slab_begin_)}; }

namespace {

template <class Byte>
StridedRows<Byte> slab_rows(Byte* data, SlabLayout layout, std::int64_t num_slab, std::int64_t heads, std::int64_t row_bytes) {
  if (layout == SlabLayout::kTokenMajor) {
    return {.data = data, .batch_stride = num_slab * heads * row_bytes, .head_stride = row_bytes, .row_stride = heads * row_bytes};
  }
  return {.data = data, .batch_stride = num_slab * heads * row_bytes, .head_stride = num_slab * row_bytes, .row_stride = row_bytes};
}

template <class Byte>
StridedRows<Byte> rows_of_heads(StridedRows<Byte> rows, SlabHeads heads) {
  rows.data += heads.first * rows.head_stride;
  return rows;
}

SlabHeads heads_in_slab(SlabHeads heads, const ConstTensor& shard) { return {heads.first, heads.total == 0 ? shard.heads : heads.total}; }

template <class Byte>
StridedRows<Byte> shard_rows(const BasicTensor<Byte>& shard) {
  return slab_rows(shard.data, SlabLayout::kHeadMajor, shard.rows, shard.heads, shard.row_bytes());
}

}  // namespace

RowExchange Redistribution::exchange_of(const ConstTensor& shard) const {
  return {.batch = shard.batch,
          .heads = shard.heads,
          .row_bytes = shard.row_bytes(),
          .rows_per_part = rows_per_part(num_tokens_, transport_->num_ranks(), shard.batch, shard.heads * shard.row_bytes()),
          .tag = kTag,
          .num_threads = num_threads_,
          .meter = meter_};
}

void Redistribution::require_sizes(const ConstTensor& shard, SlabHeads heads, std::size_t num_slab_bytes) const {
  require_size("shard", shard.rows, num_local_, "rows");
  require_size("slab", static_cast<std::int64_t>(num_slab_bytes), shard.batch * slab_.size() * heads.total * shard.row_bytes(), "bytes");
  if (heads.first < 0 || heads.first + shard.heads > heads.total) {
    throw usage_error("shard has heads " + std::to_string(heads.first) + " to " + std::to_string(heads.first + shard.heads - 1) +
                      "; the slab has heads 0 to " + std::to_string(heads.total - 1));
  }
}

void Redistribution::to_shard(std::span<const std::byte> slab, const Tensor& shard, SlabLayout layout, SlabHeads heads) const {
  heads = heads_in_slab(heads, shard);
  require_sizes(shard, heads, slab.size());
  const auto from = rows_of_heads(slab_rows(slab.data(), layout, slab_.size(), heads.total, shard.row_bytes()), heads);
  exchange_rows(*transport_, exchange_of(shard), from, slab_lists(), shard_rows(shard), local_lists());
}

void Redistribution::to_slab(const ConstTensor& shard, std::span<std::byte> slab, SlabLayout layout, SlabHeads heads) const {
  heads = heads_in_slab(heads, shard);
  require_sizes(shard, heads, slab.size());
  const auto to = rows_of_heads(slab_rows(slab.data(), layout, slab_.size(), heads.total, shard.row_bytes()), heads);
  exchange_rows(*transport_, exchange_of(shard), shard_rows(shard), local_lists(), to, slab_lists());
}

std::int64_t Redistribution::sent_bytes(Direction direction, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes) const {
  const std::int64_t num_rows = direction == Direction::kToShard ? slab_.size() : num_local_;
  return (num_rows - local_lists().count(transport_->rank())) * batch * heads * row_bytes;
}

std::int64_t Redistribution::setup_sent_bytes() const {
  const std::int64_t num_asked = num_local_ - local_lists().count(transport_->rank());
  return kIndexBytes * (num_asked + transport_->num_ranks() - 1);
}

std::int64_t Redistribution::kept_bytes(std::int64_t num_local, std::int64_t num_slab, std::int64_t num_ranks) {
  return kIndexBytes * (num_local + num_slab + 2 * (num_ranks + 1));
}

std::int64_t Redistribution::setup_bytes(std::int64_t num_local, std::int64_t num_slab) {
  return std::int64_t{sizeof(SortedRow)} * num_local + 2 * bitmap_bytes(num_slab);
}

std::int64_t Redistribution::staging_bytes(std::int64_t num_tokens, std::int64_t num_ranks, std::int64_t batch, std::int64_t heads,
                                           std::int64_t row_bytes) {
  if (num_ranks == 1) return 0;
  return kPartsHeld * rows_per_part(num_tokens, num_ranks, batch, heads * row_bytes) * heads * row_bytes;
}

}  // namespace hilbertring

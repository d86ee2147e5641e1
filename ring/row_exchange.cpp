#include "ring/row_exchange.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace hilbertring {

std::span<const std::int64_t> RowLists::of(Rank rank) const {
  return rows.subspan(static_cast<std::size_t>(begin[static_cast<std::size_t>(rank.value)]), static_cast<std::size_t>(count(rank)));
}

std::int64_t RowLists::count(Rank rank) const {
  const auto r = static_cast<std::size_t>(rank.value);
  return begin[r + 1] - begin[r];
}

namespace {

/// Rows of less than this are packed by one thread: waking the others would cost more than the copy.
constexpr std::int64_t kMinParallelBytes = std::int64_t{64} * 1024;

/// Row `index` of the exchange with one rank: entry index % n of its list, batch element index / n.
template <class Byte>
Byte* row_at(const StridedRows<Byte>& rows, std::span<const std::int64_t> list, std::int64_t index) {
  const auto n = static_cast<std::int64_t>(list.size());
  return rows.row(index / n, list[static_cast<std::size_t>(index % n)]);
}

void copy_heads(const std::byte* from, std::int64_t from_stride, std::byte* to, std::int64_t to_stride, const RowExchange& exchange) {
  if (from_stride == exchange.row_bytes && to_stride == exchange.row_bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(exchange.token_bytes()));
    return;
  }
  for (std::int64_t h = 0; h < exchange.heads; ++h) {
    std::memcpy(to + h * to_stride, from + h * from_stride, static_cast<std::size_t>(exchange.row_bytes));
  }
}

/// Calls copy_row(i) for i in [0, count), on the exchange's threads. Every row has its own target, so the order does not matter.
template <class CopyRow>
void for_each_row(std::int64_t count, const RowExchange& exchange, const CopyRow& copy_row) {
  [[maybe_unused]] const bool is_worth_threads = exchange.num_threads > 1 && count * exchange.token_bytes() >= kMinParallelBytes;
#pragma omp parallel for schedule(static) num_threads(exchange.num_threads) if (is_worth_threads)
  for (std::int64_t i = 0; i < count; ++i) copy_row(i);
}

/// Two parts in turn. The transfers go before the buffers that they use.
struct Parts {
  std::array<Buffer, 2> buffers;
  std::array<Transfer, 2> transfers;

  explicit Parts(const RowExchange& exchange)
      : buffers{Buffer(exchange.part_bytes(), exchange.meter), Buffer(exchange.part_bytes(), exchange.meter)} {}

  void wait(std::size_t slot) {
    if (transfers[slot]) transfers[slot]->wait();
    transfers[slot].reset();
  }
};

class Exchanger {
 public:
  Exchanger(Transport& transport, const RowExchange& exchange, const StridedRows<const std::byte>& from, const StridedRows<std::byte>& to)
      : transport_(transport), exchange_(exchange), from_(from), to_(to), outgoing_(exchange), incoming_(exchange) {}

  /// Sends the rows of `send_list` to one rank while those of `receive_list` come from another.
  void round(Rank to, std::span<const std::int64_t> send_list, Rank from, std::span<const std::int64_t> receive_list);
  void finish();

 private:
  // Rows of the part, in a round of `list.size() * batch` rows.
  std::int64_t part_count(std::span<const std::int64_t> list, std::int64_t part) const {
    return std::min(exchange_.rows_per_part, total(list) - part * exchange_.rows_per_part);
  }
  std::int64_t num_parts(std::span<const std::int64_t> list) const { return ceil_div(total(list), exchange_.rows_per_part); }
  std::int64_t total(std::span<const std::int64_t> list) const { return exchange_.batch * static_cast<std::int64_t>(list.size()); }
  std::span<std::byte> part_bytes(const Buffer& buffer, std::span<const std::int64_t> list, std::int64_t part) const {
    return buffer.bytes().first(static_cast<std::size_t>(part_count(list, part) * exchange_.token_bytes()));
  }

  void pack_and_send(Rank to, std::span<const std::int64_t> list, std::int64_t part);
  void start_receive(Rank from, std::span<const std::int64_t> list, std::int64_t part);
  void receive_and_unpack(std::span<const std::int64_t> list, std::int64_t part);

  Transport& transport_;
  const RowExchange& exchange_;
  const StridedRows<const std::byte>& from_;
  const StridedRows<std::byte>& to_;
  Parts outgoing_, incoming_;
};

void Exchanger::pack_and_send(Rank to, std::span<const std::int64_t> list, std::int64_t part) {
  const auto slot = static_cast<std::size_t>(part % 2);
  outgoing_.wait(slot);
  const auto bytes = part_bytes(outgoing_.buffers[slot], list, part);
  const std::int64_t first = part * exchange_.rows_per_part;
  for_each_row(part_count(list, part), exchange_, [&](std::int64_t i) {
    copy_heads(row_at(from_, list, first + i), from_.head_stride, bytes.data() + i * exchange_.token_bytes(), exchange_.row_bytes, exchange_);
  });
  outgoing_.transfers[slot] = transport_.send(bytes, to, exchange_.tag);
}

void Exchanger::start_receive(Rank from, std::span<const std::int64_t> list, std::int64_t part) {
  const auto slot = static_cast<std::size_t>(part % 2);
  incoming_.transfers[slot] = transport_.receive(part_bytes(incoming_.buffers[slot], list, part), from, exchange_.tag);
}

void Exchanger::receive_and_unpack(std::span<const std::int64_t> list, std::int64_t part) {
  const auto slot = static_cast<std::size_t>(part % 2);
  incoming_.wait(slot);
  const auto bytes = part_bytes(incoming_.buffers[slot], list, part);
  const std::int64_t first = part * exchange_.rows_per_part;
  for_each_row(part_count(list, part), exchange_, [&](std::int64_t i) {
    copy_heads(bytes.data() + i * exchange_.token_bytes(), exchange_.row_bytes, row_at(to_, list, first + i), to_.head_stride, exchange_);
  });
}

// The receive of part s + 1 is posted before part s is waited for, so a peer that is a step ahead never waits for this rank to unpack.
void Exchanger::round(Rank to, std::span<const std::int64_t> send_list, Rank from, std::span<const std::int64_t> receive_list) {
  const std::int64_t num_sends = num_parts(send_list);
  const std::int64_t num_receives = num_parts(receive_list);
  if (num_receives > 0) start_receive(from, receive_list, 0);
  for (std::int64_t part = 0; part < std::max(num_sends, num_receives); ++part) {
    if (part + 1 < num_receives) start_receive(from, receive_list, part + 1);
    if (part < num_sends) pack_and_send(to, send_list, part);
    if (part < num_receives) receive_and_unpack(receive_list, part);
  }
}

void Exchanger::finish() {
  outgoing_.wait(0);
  outgoing_.wait(1);
}

void copy_own_rows(const RowExchange& exchange, const StridedRows<const std::byte>& from, std::span<const std::int64_t> from_list,
                   const StridedRows<std::byte>& to, std::span<const std::int64_t> to_list) {
  for_each_row(exchange.batch * static_cast<std::int64_t>(from_list.size()), exchange,
               [&](std::int64_t i) { copy_heads(row_at(from, from_list, i), from.head_stride, row_at(to, to_list, i), to.head_stride, exchange); });
}

}  // namespace

void exchange_rows(Transport& transport, const RowExchange& exchange, const StridedRows<const std::byte>& from, const RowLists& from_lists,
                   const StridedRows<std::byte>& to, const RowLists& to_lists) {
  const Rank me = transport.rank();
  const std::int64_t num_ranks = transport.num_ranks();
  if (num_ranks > 1) {
    Exchanger exchanger(transport, exchange, from, to);
    for (std::int64_t d = 1; d < num_ranks; ++d) {
      const Rank next((me.value + d) % num_ranks);
      const Rank previous((me.value - d + num_ranks) % num_ranks);
      exchanger.round(next, from_lists.of(next), previous, to_lists.of(previous));
    }
    exchanger.finish();
  }
  copy_own_rows(exchange, from, from_lists.of(me), to, to_lists.of(me));
}

}  // namespace hilbertring

#include "ring/row_exchange.h"

#include <algorithm>
#include <cstring>

namespace hilbertring {

std::span<const std::int64_t> RowLists::of(Rank rank) const {
  const auto r = static_cast<std::size_t>(rank.value);
  const auto of_rank = tokens.subspan(static_cast<std::size_t>(begin[r]), static_cast<std::size_t>(begin[r + 1] - begin[r]));
  const Range<SequenceIndex> taken = part_taken(rank);
  const auto first = std::ranges::lower_bound(of_rank, taken.begin.value);
  const auto end = std::lower_bound(first, of_rank.end(), taken.end.value);
  return rows.subspan(static_cast<std::size_t>(first - tokens.begin()), static_cast<std::size_t>(end - first));
}

namespace {

/// Rows of less than this are packed by one thread: waking the others would cost more than the copy.
constexpr std::int64_t kMinParallelBytes = std::int64_t{64} * 1024;

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

Buffer make_part(const RowExchange& exchange) {
  if (exchange.device != nullptr) return exchange.device->allocate_shared(exchange.part_bytes(), exchange.meter);
  return {exchange.part_bytes(), exchange.meter};
}

std::size_t slot_of(std::int64_t part) { return static_cast<std::size_t>(part % 2); }

}  // namespace

void HostSource::start_pack(std::size_t, const RowRun& rows, std::byte* message) {
  for_each_row(rows.count, exchange_, [&](std::int64_t i) {
    copy_heads(rows_.row(rows.batch(i), rows.row(i)), rows_.head_stride, message + i * exchange_.token_bytes(), exchange_.row_bytes, exchange_);
  });
}

void HostTarget::start_unpack(std::size_t, const RowRun& rows, const std::byte* message) {
  for_each_row(rows.count, exchange_, [&](std::int64_t i) {
    copy_heads(message + i * exchange_.token_bytes(), exchange_.row_bytes, rows_.row(rows.batch(i), rows.row(i)), rows_.head_stride, exchange_);
  });
}

void RowExchanger::Parts::wait(std::size_t slot) {
  if (transfers[slot]) transfers[slot]->wait();
  transfers[slot].reset();
}

RowExchanger::RowExchanger(Transport& transport, const RowExchange& exchange) : transport_(transport), exchange_(exchange) {
  if (transport.num_ranks() == 1) return;
  for (Parts* parts : {&outgoing_, &incoming_}) {
    for (Buffer& buffer : parts->buffers) buffer = make_part(exchange);
  }
}

std::int64_t RowExchanger::num_parts(std::span<const std::int64_t> list) const {
  return ceil_div(exchange_.batch * static_cast<std::int64_t>(list.size()), exchange_.rows_per_part);
}

RowRun RowExchanger::rows_of_part(std::span<const std::int64_t> list, std::int64_t part) const {
  const std::int64_t first = part * exchange_.rows_per_part;
  const std::int64_t num_rows = exchange_.batch * static_cast<std::int64_t>(list.size());
  return {.list = list, .first = first, .count = std::min(exchange_.rows_per_part, num_rows - first)};
}

std::span<std::byte> RowExchanger::bytes_of(const Buffer& buffer, const RowRun& rows) const {
  return buffer.bytes().first(static_cast<std::size_t>(rows.count * exchange_.token_bytes()));
}

void RowExchanger::start_pack(const Round& round, std::int64_t part) {
  outgoing_.wait(slot_of(part));
  round.from.start_pack(slot_of(part), rows_of_part(round.send_list, part), outgoing_.buffers[slot_of(part)].data());
}

void RowExchanger::send(const Round& round, std::int64_t part) {
  round.from.finish(slot_of(part));
  const auto bytes = bytes_of(outgoing_.buffers[slot_of(part)], rows_of_part(round.send_list, part));
  outgoing_.transfers[slot_of(part)] = transport_.send(bytes, round.send_to, exchange_.tag);
}

void RowExchanger::start_receive(const Round& round, std::int64_t part) {
  round.to.finish(slot_of(part));
  const auto bytes = bytes_of(incoming_.buffers[slot_of(part)], rows_of_part(round.receive_list, part));
  incoming_.transfers[slot_of(part)] = transport_.receive(bytes, round.receive_from, exchange_.tag);
}

void RowExchanger::receive_and_unpack(const Round& round, std::int64_t part) {
  incoming_.wait(slot_of(part));
  round.to.start_unpack(slot_of(part), rows_of_part(round.receive_list, part), incoming_.buffers[slot_of(part)].data());
}

// The receive of part s + 1 is posted before part s is waited for, so a peer that is a step ahead never waits for this rank to unpack. And the
// packing of part s + 1 is begun before part s is unpacked, so that a device packs while the host unpacks.
void RowExchanger::go(const Round& round) {
  const std::int64_t num_sends = num_parts(round.send_list);
  const std::int64_t num_receives = num_parts(round.receive_list);
  if (num_receives > 0) start_receive(round, 0);
  if (num_sends > 0) start_pack(round, 0);
  for (std::int64_t part = 0; part < std::max(num_sends, num_receives); ++part) {
    if (part + 1 < num_receives) start_receive(round, part + 1);
    if (part < num_sends) send(round, part);
    if (part + 1 < num_sends) start_pack(round, part + 1);
    if (part < num_receives) receive_and_unpack(round, part);
  }
}

void RowExchanger::exchange(RowSource& from, const RowLists& from_lists, RowTarget& to, const RowLists& to_lists) {
  const Rank me = transport_.rank();
  const std::int64_t num_ranks = transport_.num_ranks();
  for (std::int64_t d = 1; d < num_ranks; ++d) {
    const Rank next((me.value + d) % num_ranks);
    const Rank previous((me.value - d + num_ranks) % num_ranks);
    go({from, from_lists.of(next), next, to, to_lists.of(previous), previous});
  }
  outgoing_.wait(0);
  outgoing_.wait(1);
}

void copy_own_rows(const RowExchange& exchange, const StridedRows<const std::byte>& from, std::span<const std::int64_t> from_list,
                   const StridedRows<std::byte>& to, std::span<const std::int64_t> to_list) {
  const auto num_rows = static_cast<std::int64_t>(from_list.size());
  const RowRun source{from_list, 0, exchange.batch * num_rows}, target{to_list, 0, exchange.batch * num_rows};
  for_each_row(source.count, exchange, [&](std::int64_t i) {
    copy_heads(from.row(source.batch(i), source.row(i)), from.head_stride, to.row(target.batch(i), target.row(i)), to.head_stride, exchange);
  });
}

}  // namespace hilbertring

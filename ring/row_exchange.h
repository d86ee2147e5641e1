#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/buffer.h"
#include "core/compute_device.h"
#include "core/index.h"
#include "ring/transport.h"

namespace hilbertring {

/// For each rank the rows exchanged with it, ascending by token: rows[begin[rank]] .. rows[begin[rank + 1] - 1], and of these the ones whose tokens
/// take part.
struct RowLists {
  std::span<const std::int64_t> rows;
  std::span<const std::int64_t> begin;   ///< [P + 1]
  std::span<const std::int64_t> tokens;  ///< of the rows
  std::function<Range<SequenceIndex>(Rank)> part_taken;

  std::span<const std::int64_t> of(Rank rank) const;
};

/// What all ranks of an exchange agree on, and what each brings along.
struct RowExchange {
  std::int64_t batch = 1;
  std::int64_t heads = 1;
  std::int64_t row_bytes = 0;      ///< of one head
  std::int64_t rows_per_part = 1;  ///< rows (tokens with all heads) per message
  int tag = 0;
  int num_threads = 1;
  std::shared_ptr<MemoryMeter> meter;
  ComputeDevice* device = nullptr;  ///< that shares the messages' memory, if a device packs or unpacks them

  std::int64_t token_bytes() const { return heads * row_bytes; }
  std::int64_t part_bytes() const { return rows_per_part * token_bytes(); }
};

/// Some of the rows exchanged with a rank: those of all batch elements in turn, counted through.
struct RowRun {
  std::span<const std::int64_t> list;
  std::int64_t first = 0, count = 0;

  std::int64_t batch(std::int64_t i) const { return (first + i) / static_cast<std::int64_t>(list.size()); }
  std::int64_t row(std::int64_t i) const { return list[static_cast<std::size_t>((first + i) % static_cast<std::int64_t>(list.size()))]; }
};

/// Where an exchange takes rows from, or puts them: with all heads, one row after the other in a message. Work for a message in `slot` 0 or 1 may go
/// on when the call returns, until `finish(slot)`.
class RowSource {
 public:
  virtual ~RowSource() = default;
  virtual void start_pack(std::size_t slot, const RowRun& rows, std::byte* message) = 0;
  virtual void finish(std::size_t slot) = 0;
};
class RowTarget {
 public:
  virtual ~RowTarget() = default;
  virtual void start_unpack(std::size_t slot, const RowRun& rows, const std::byte* message) = 0;
  virtual void finish(std::size_t slot) = 0;
};

/// Rows on the host; strides in bytes say where tokens and heads lie. Everything is done when a call returns.
template <class Byte>
struct StridedRows {
  Byte* data = nullptr;  ///< of row `first_row`
  std::int64_t batch_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t first_row = 0;

  Byte* row(std::int64_t batch, std::int64_t r) const { return data + offset(batch, r); }
  /// In bytes.
  std::int64_t offset(std::int64_t batch, std::int64_t r) const { return batch * batch_stride + (r - first_row) * row_stride; }
};

class HostSource final : public RowSource {
 public:
  HostSource(const RowExchange& exchange, const StridedRows<const std::byte>& rows) : exchange_(exchange), rows_(rows) {}
  void start_pack(std::size_t slot, const RowRun& rows, std::byte* message) override;
  void finish(std::size_t) override {}

 private:
  const RowExchange& exchange_;
  StridedRows<const std::byte> rows_;
};

class HostTarget final : public RowTarget {
 public:
  HostTarget(const RowExchange& exchange, const StridedRows<std::byte>& rows) : exchange_(exchange), rows_(rows) {}
  void start_unpack(std::size_t slot, const RowRun& rows, const std::byte* message) override;
  void finish(std::size_t) override {}

 private:
  const RowExchange& exchange_;
  StridedRows<std::byte> rows_;
};

/// Number of parts that an exchanger holds: while one travels the other is packed (or unpacked), on both ways.
inline constexpr std::int64_t kPartsHeld = 4;

/// Copies entry i of `from_lists.of(s)` on rank r into entry i of `to_lists.of(r)` on rank s, for all ranks r != s and all batch elements. Goes
/// through rounds d = 1 .. P-1, to rank + d and from rank - d. Ranks without rows in common exchange no message.
class RowExchanger {
 public:
  /// What is referred to must outlive it. On a single rank it holds nothing.
  RowExchanger(Transport& transport, const RowExchange& exchange);

  /// Collective. The lists of a pair of ranks must be equally long. Afterwards all messages have arrived, but the target may still be at work on the
  /// last two: it must outlive the next call, or be told to finish both slots.
  void exchange(RowSource& from, const RowLists& from_lists, RowTarget& to, const RowLists& to_lists);

 private:
  /// Two parts in turn. The transfers go before the buffers that they use.
  struct Parts {
    std::array<Buffer, 2> buffers;
    std::array<Transfer, 2> transfers;

    void wait(std::size_t slot);
  };
  /// Rows for one rank while others come from another.
  struct Round {
    RowSource& from;
    std::span<const std::int64_t> send_list;
    Rank send_to;
    RowTarget& to;
    std::span<const std::int64_t> receive_list;
    Rank receive_from;
  };

  void go(const Round& round);
  void start_pack(const Round& round, std::int64_t part);
  void send(const Round& round, std::int64_t part);
  void start_receive(const Round& round, std::int64_t part);
  void receive_and_unpack(const Round& round, std::int64_t part);
  // Of the exchange with one rank.
  std::int64_t num_parts(std::span<const std::int64_t> list) const;
  RowRun rows_of_part(std::span<const std::int64_t> list, std::int64_t part) const;
  std::span<std::byte> bytes_of(const Buffer& buffer, const RowRun& rows) const;

  Transport& transport_;
  const RowExchange& exchange_;
  Parts outgoing_, incoming_;
};

/// The rows that stay on the rank: copies entry i of the one list to entry i of the other, for all batch elements.
void copy_own_rows(const RowExchange& exchange, const StridedRows<const std::byte>& from, std::span<const std::int64_t> from_list,
                   const StridedRows<std::byte>& to, std::span<const std::int64_t> to_list);

}  // namespace hilbertring

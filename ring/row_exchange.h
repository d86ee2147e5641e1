#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/buffer.h"
#include "core/index.h"
#include "ring/transport.h"

namespace hilbertring {

/// Rows of `heads * row_bytes` bytes each (a token with all its heads), host; strides in bytes say where tokens and heads lie.
template <class Byte>
struct StridedRows {
  Byte* data = nullptr;
  std::int64_t batch_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t row_stride = 0;

  Byte* row(std::int64_t batch, std::int64_t r) const { return data + batch * batch_stride + r * row_stride; }
};

/// For each rank the rows exchanged with it: rows[begin[rank]] .. rows[begin[rank + 1] - 1].
struct RowLists {
  std::span<const std::int64_t> rows;
  std::span<const std::int64_t> begin;  ///< [P + 1]

  std::span<const std::int64_t> of(Rank rank) const;
  std::int64_t count(Rank rank) const;
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

  std::int64_t token_bytes() const { return heads * row_bytes; }
  std::int64_t part_bytes() const { return rows_per_part * token_bytes(); }
};

/// Number of parts that exchange_rows holds: while one travels the other is packed (or unpacked), on both ways.
inline constexpr std::int64_t kPartsHeld = 4;

/// Copies entry i of `from_lists.of(s)` on rank r into entry i of `to_lists.of(r)` on rank s, for all ranks r, s and all batch elements. Collective.
/// The lists of a pair of ranks must be equally long. Goes through rounds d = 1 .. P-1, to rank + d and from rank - d; a rank's rows for itself are
/// copied straight. Ranks without rows in common exchange no message.
void exchange_rows(Transport& transport, const RowExchange& exchange, const StridedRows<const std::byte>& from, const RowLists& from_lists,
                   const StridedRows<std::byte>& to, const RowLists& to_lists);

}  // namespace hilbertring

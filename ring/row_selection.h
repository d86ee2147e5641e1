#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "core/compute_device.h"
#include "core/tensor.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Which rows of a rank's shard, for each class of heads of one side: one bit per row. What a message holds.
class RowSelection {
 public:
  /// No rows of `owner`.
  RowSelection(const Schedule& schedule, Side side, Rank owner);
  /// The rows of `owner` that visit `visitor`.
  static RowSelection needed(const Schedule& schedule, Side side, Rank owner, Rank visitor);

  /// Summed over heads (of one batch element).
  std::int64_t num_rows() const;
  std::int64_t num_rows_of_head(std::int64_t head) const;
  bool is_empty() const { return num_rows() == 0; }
  bool is_everything() const;
  bool contains(const RowSelection& other) const;
  bool meets(const RowSelection& other) const;
  /// Whether the two heads' rows are the same because the heads are of one class.
  bool is_alike(std::int64_t head, std::int64_t other_head) const { return &bits_of(head) == &bits_of(other_head); }

  RowSelection& operator&=(const RowSelection& other);
  RowSelection& operator|=(const RowSelection& other);
  RowSelection& operator-=(const RowSelection& other);

  /// Bytes of the largest table that selections of one side may need: of the rank with most rows.
  static std::int64_t table_bytes(const Schedule& schedule, Side side);
  /// The selection for a device, in `memory` (of `table_bytes`).
  RowTable write_table(std::int64_t num_heads, std::span<std::byte> memory) const;

  /// Calls f(first local row, count) for each run of neighbouring rows, ascending.
  template <class F>
  void for_each_run(std::int64_t head, F&& f) const;

 private:
  using Bits = std::vector<std::uint64_t>;
  const Bits& bits_of(std::int64_t head) const { return bits_[static_cast<std::size_t>(needs_->class_of(side_, head))]; }

  const Needs* needs_;
  Side side_;
  std::int64_t shard_rows_;
  std::vector<Bits> bits_;  ///< per class of heads
};

template <class F>
void RowSelection::for_each_run(std::int64_t head, F&& f) const {
  const Bits& bits = bits_of(head);
  // The first row from `row` on that is selected, or is not.
  const auto next = [&](std::int64_t row, bool is_selected) {
    while (row < shard_rows_) {
      const std::uint64_t word = bits[static_cast<std::size_t>(row / 64)];
      const std::uint64_t rest = (is_selected ? word : ~word) >> (row % 64);
      if (rest != 0) return std::min(row + std::countr_zero(rest), shard_rows_);
      row = (row / 64 + 1) * 64;
    }
    return shard_rows_;
  };
  for (std::int64_t row = next(0, true); row < shard_rows_; row = next(row, true)) {
    const std::int64_t first = row;
    row = next(row, false);
    f(LocalRow(first), row - first);
  }
}

/// Tensors whose rows travel together: all [B, heads, rows, *] of one side.
using Bundle = std::vector<Tensor>;

std::int64_t bundle_row_bytes(const Bundle& bundle);
/// Bytes of the selected rows of all tensors, heads and batch elements.
std::int64_t message_bytes(const Bundle& bundle, const RowSelection& rows);

}  // namespace hilbertring

#include "ring/row_selection.h"

#include <algorithm>
#include <numeric>

namespace hilbertring {

namespace {

/// Ones at begin, begin + stride, ... below end.
void set_bits(std::vector<std::uint64_t>& bits, std::int64_t begin, std::int64_t end, std::int64_t stride) {
  std::int64_t row = begin;
  while (row < end) {
    if (stride == 1 && row % 64 == 0 && end - row >= 64) {
      bits[static_cast<std::size_t>(row / 64)] = ~std::uint64_t{0};
      row += 64;
    } else {
      bits[static_cast<std::size_t>(row / 64)] |= std::uint64_t{1} << (row % 64);
      row += stride;
    }
  }
}

std::int64_t count_ones(const std::vector<std::uint64_t>& bits) {
  return std::accumulate(bits.begin(), bits.end(), std::int64_t{0}, [](std::int64_t sum, std::uint64_t word) { return sum + std::popcount(word); });
}

}  // namespace

RowSelection::RowSelection(const Schedule& schedule, Side side, Rank owner)
    : needs_(&schedule.needs()),
      side_(side),
      shard_rows_(schedule.placement().num_rows(owner)),
      bits_(static_cast<std::size_t>(schedule.needs().num_classes(side)), Bits(static_cast<std::size_t>(ceil_div(shard_rows_, 64)), 0)) {}

RowSelection RowSelection::needed(const Schedule& schedule, Side side, Rank owner, Rank visitor) {
  RowSelection selection(schedule, side, owner);
  const std::vector<Range<Position>> spans = schedule.placement().spans(owner);
  for (std::size_t c = 0; c < selection.bits_.size(); ++c) {
    for (const Run& run : schedule.needs().rows(side, static_cast<std::int64_t>(c), owner, visitor)) {
      std::int64_t before = 0;
      for (const Range<Position>& span : spans) {
        if (span.contains(run.first)) {
          const std::int64_t begin = before + (run.first - span.begin);
          set_bits(selection.bits_[c], begin, begin + (run.count - 1) * run.stride + 1, run.stride);
        }
        before += span.size();
      }
    }
  }
  return selection;
}

std::int64_t RowSelection::num_rows() const {
  std::int64_t rows = 0;
  for (std::size_t c = 0; c < bits_.size(); ++c) rows += needs_->class_size(side_, static_cast<std::int64_t>(c)) * count_ones(bits_[c]);
  return rows;
}

std::int64_t RowSelection::num_rows_of_head(std::int64_t head) const { return count_ones(bits_of(head)); }

bool RowSelection::is_everything() const {
  return std::all_of(bits_.begin(), bits_.end(), [&](const Bits& bits) { return count_ones(bits) == shard_rows_; });
}

bool RowSelection::contains(const RowSelection& other) const {
  RowSelection outside = other;
  return (outside -= *this).is_empty();
}

bool RowSelection::meets(const RowSelection& other) const {
  RowSelection common = other;
  return !(common &= *this).is_empty();
}

RowSelection& RowSelection::operator&=(const RowSelection& other) {
  for (std::size_t c = 0; c < bits_.size(); ++c) {
    for (std::size_t i = 0; i < bits_[c].size(); ++i) bits_[c][i] &= other.bits_[c][i];
  }
  return *this;
}

RowSelection& RowSelection::operator|=(const RowSelection& other) {
  for (std::size_t c = 0; c < bits_.size(); ++c) {
    for (std::size_t i = 0; i < bits_[c].size(); ++i) bits_[c][i] |= other.bits_[c][i];
  }
  return *this;
}

RowSelection& RowSelection::operator-=(const RowSelection& other) {
  for (std::size_t c = 0; c < bits_.size(); ++c) {
    for (std::size_t i = 0; i < bits_[c].size(); ++i) bits_[c][i] &= ~other.bits_[c][i];
  }
  return *this;
}

std::int64_t RowSelection::table_bytes(const Schedule& schedule, Side side) {
  const Shape& shape = schedule.problem().shape;
  const std::int64_t heads = side == Side::kKeys ? shape.kv_heads : shape.heads;
  const std::int64_t words = schedule.needs().num_classes(side) * ceil_div(schedule.placement().max_rows(), 64);
  return heads * static_cast<std::int64_t>(sizeof(HeadRows)) + words * static_cast<std::int64_t>(sizeof(RowWord));
}

RowTable RowSelection::write_table(std::int64_t num_heads, std::span<std::byte> memory) const {
  auto* const heads = reinterpret_cast<HeadRows*>(memory.data());
  auto* const words = reinterpret_cast<RowWord*>(heads + num_heads);
  std::int64_t num_words = 0;
  for (const Bits& bits : bits_) {
    std::int64_t num_before = 0;
    for (const std::uint64_t word : bits) {
      words[num_words++] = {.bits = word, .num_before = num_before};
      num_before += std::popcount(word);
    }
  }
  std::int64_t num_rows = 0;
  for (std::int64_t h = 0; h < num_heads; ++h) {
    heads[h] = {.first_word = needs_->class_of(side_, h) * ceil_div(shard_rows_, 64), .num_before = num_rows};
    num_rows += num_rows_of_head(h);
  }
  return {.heads = heads, .words = words, .num_rows = num_rows};
}

std::int64_t bundle_row_bytes(const Bundle& bundle) {
  return std::accumulate(bundle.begin(), bundle.end(), std::int64_t{0}, [](std::int64_t sum, const Tensor& t) { return sum + t.row_bytes(); });
}

std::int64_t message_bytes(const Bundle& bundle, const RowSelection& rows) {
  return bundle.empty() ? 0 : bundle.front().batch * rows.num_rows() * bundle_row_bytes(bundle);
}

}  // namespace hilbertring

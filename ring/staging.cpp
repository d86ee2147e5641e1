#include "ring/staging.h"

#include <algorithm>

namespace hilbertring {

namespace {

std::span<RowOffsets> offsets_in(const Buffer& buffer) {
  return {reinterpret_cast<RowOffsets*>(buffer.data()), static_cast<std::size_t>(buffer.size_bytes()) / sizeof(RowOffsets)};
}

/// Where a row of a tensor begins.
std::int64_t offset_in(const Tensor& tensor, std::int64_t batch, std::int64_t row) { return tensor.row(batch, 0, LocalRow(row)) - tensor.data; }

RowExchange with_device(RowExchange exchange, ComputeDevice& device) {
  exchange.device = &device;
  return exchange;
}

/// Of the largest piece.
std::int64_t piece_rows(const SlabCut& cut, std::int64_t batch) { return batch * cut.tokens_per_piece; }

}  // namespace

DeviceRows::DeviceRows(ComputeDevice& device, const Tensor& tensor, std::int64_t rows_per_message, const std::shared_ptr<MemoryMeter>& meter)
    : device_(device), tensor_(tensor) {
  for (Slot& slot : slots_) slot = {.offsets = device.allocate_shared(size_bytes(rows_per_message) / 2, meter), .is_copied = device.make_mark()};
}

void DeviceRows::start_copy(RowCopy direction, Slot& slot, const RowRun& rows, std::byte* message) {
  const auto offsets = offsets_in(slot.offsets).first(static_cast<std::size_t>(rows.count));
  const std::int64_t token_bytes = tensor_.heads * tensor_.row_bytes();
  for (std::int64_t i = 0; i < rows.count; ++i) {
    offsets[static_cast<std::size_t>(i)] = {.on_device = offset_in(tensor_, rows.batch(i), rows.row(i)), .on_host = i * token_bytes};
  }
  device_.copy_listed_rows(direction, tensor_.data,
                           {.offsets = offsets,
                            .heads = tensor_.heads,
                            .row_bytes = tensor_.row_bytes(),
                            .device_head_stride = tensor_.rows * tensor_.row_bytes(),
                            .host_head_stride = tensor_.row_bytes()},
                           message);
  slot.is_copied->set(WorkQueue::kCompute);
}

void DeviceRows::start_pack(std::size_t slot, const RowRun& rows, std::byte* message) { start_copy(RowCopy::kPack, slots_[slot], rows, message); }
void DeviceRows::start_unpack(std::size_t slot, const RowRun& rows, const std::byte* message) {
  start_copy(RowCopy::kUnpack, slots_[slot], rows, const_cast<std::byte*>(message));  // which this direction only reads
}

std::int64_t Staging::size_bytes(const SlabCut& cut, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes) {
  const std::int64_t of_piece = piece_rows(cut, batch) * (heads * row_bytes + static_cast<std::int64_t>(sizeof(RowOffsets)));
  const std::int64_t of_pieces = std::min<std::int64_t>(2, cut.num_pieces()) * of_piece;
  if (cut.num_ranks == 1) return of_pieces;
  const std::int64_t rows_per_message = Redistribution::rows_per_part(cut, batch, heads * row_bytes);
  return of_pieces + DeviceRows::size_bytes(rows_per_message) + Redistribution::staging_bytes(cut, batch, heads, row_bytes);
}

Staging::Staging(const Redistribution& redistribution, ComputeDevice& device, const Tensor& shard, SlabLayout layout, const SlabCut& cut,
                 const std::shared_ptr<MemoryMeter>& meter)
    : redistribution_(redistribution),
      device_(device),
      shard_(shard),
      layout_(layout),
      cut_(cut),
      exchange_(with_device(redistribution.exchange_of(shard, cut), device)),
      on_device_(device, shard, cut.num_ranks == 1 ? 0 : exchange_.rows_per_part, meter),
      exchanger_(redistribution.transport(), exchange_) {
  const std::int64_t num_rows = piece_rows(cut, shard.batch);
  for (std::int64_t i = 0; i < std::min<std::int64_t>(2, cut.num_pieces()); ++i) {
    slot(i) = {.rows = device.allocate_shared(num_rows * exchange_.token_bytes(), meter),
               .offsets = device.allocate_shared(num_rows * static_cast<std::int64_t>(sizeof(RowOffsets)), meter),
               .is_copied = device.make_mark()};
  }
}

Staging::~Staging() {
  try {
    device_.wait();
  } catch (...) {  // whoever uses the device next is told
  }
}

Range<SequenceIndex> Staging::tokens_of(std::int64_t index) const { return SlabPiece{cut_, index}.of(redistribution_.transport().rank()); }

std::span<std::byte> Staging::bytes_of(std::int64_t index) {
  return slot(index).rows.bytes().first(static_cast<std::size_t>(shard_.batch * tokens_of(index).size() * exchange_.token_bytes()));
}

StridedRows<std::byte> Staging::rows_of(std::int64_t index) {
  return slab_rows(slot(index).rows.data(), layout_, tokens_of(index), shard_.heads, shard_.row_bytes());
}

void Staging::start_own_rows(RowCopy direction, std::int64_t index) {
  const Rank me = redistribution_.transport().rank();
  const RowLists slab = redistribution_.slab_lists({cut_, index}), local = redistribution_.local_lists({cut_, index});
  const auto tokens = slab.of(me), rows = local.of(me);
  const StridedRows<std::byte> on_host = rows_of(index);
  const auto offsets = offsets_in(slot(index).offsets).first(static_cast<std::size_t>(shard_.batch) * rows.size());
  std::size_t next = 0;
  for (std::int64_t b = 0; b < shard_.batch; ++b) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      offsets[next++] = {.on_device = offset_in(shard_, b, rows[i]), .on_host = on_host.offset(b, tokens[i])};
    }
  }
  device_.copy_listed_rows(direction, shard_.data,
                           {.offsets = offsets,
                            .heads = shard_.heads,
                            .row_bytes = shard_.row_bytes(),
                            .device_head_stride = shard_.rows * shard_.row_bytes(),
                            .host_head_stride = on_host.head_stride},
                           on_host.data);
  slot(index).is_copied->set(WorkQueue::kCompute);
}

void Staging::exchange_to_shard(std::int64_t index) {
  const StridedRows<std::byte> rows = rows_of(index);
  HostSource source(exchange_, {rows.data, rows.batch_stride, rows.head_stride, rows.row_stride, rows.first_row});
  exchanger_.exchange(source, redistribution_.slab_lists({cut_, index}), on_device_, redistribution_.local_lists({cut_, index}));
}

void Staging::exchange_to_slab(std::int64_t index) {
  HostTarget target(exchange_, rows_of(index));
  exchanger_.exchange(on_device_, redistribution_.local_lists({cut_, index}), target, redistribution_.slab_lists({cut_, index}));
}

void Staging::load(const PieceReader& read) {
  for (std::int64_t i = 0; i < cut_.num_pieces(); ++i) {
    slot(i).is_copied->wait();
    read(tokens_of(i), bytes_of(i));
    exchange_to_shard(i);
    start_own_rows(RowCopy::kUnpack, i);
  }
  device_.wait();
}

// The device turns to the next piece's own rows before the host goes on with this one: they are copied while it is exchanged and written.
void Staging::store(const PieceWriter& write) {
  start_own_rows(RowCopy::kPack, 0);
  for (std::int64_t i = 0; i < cut_.num_pieces(); ++i) {
    exchange_to_slab(i);
    slot(i).is_copied->wait();
    if (i + 1 < cut_.num_pieces()) start_own_rows(RowCopy::kPack, i + 1);
    write(tokens_of(i), bytes_of(i));
  }
}

}  // namespace hilbertring

#include "ring/parcel.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {
std::span<std::byte> bytes_of(const Tensor& tensor) { return {tensor.data, static_cast<std::size_t>(tensor.size_bytes())}; }
}  // namespace

Parcel::Parcel(ComputeDevice& device, const ParcelBytes& sizes, const std::shared_ptr<MemoryMeter>& meter)
    : device_(&device),
      message_(device.allocate_shared(sizes.message, meter)),
      table_(device.allocate_shared(sizes.table, meter)),
      copied_(device.make_mark()) {}

std::span<std::byte> Parcel::staged(const Bundle& bundle, const RowSelection& rows) const {
  const std::int64_t num_bytes = message_bytes(bundle, rows);
  if (num_bytes > message_.size_bytes()) {
    throw failure("a message of " + std::to_string(num_bytes) + " bytes does not fit the " + std::to_string(message_.size_bytes()) +
                  " bytes that were predicted for it");
  }
  return message_.bytes().first(static_cast<std::size_t>(num_bytes));
}

void Parcel::copy_rows(RowCopy direction, const Bundle& bundle, const RowSelection& rows) {
  const RowTable table = rows.write_table(bundle.front().heads, table_.bytes());
  std::byte* message = message_.data();
  for (const Tensor& tensor : bundle) {
    device_->copy_rows(direction, tensor, table, message);
    message += tensor.batch * table.num_rows * tensor.row_bytes();
  }
  copied_->set(WorkQueue::kTransfer);
}

void Parcel::send(Transport& transport, const Bundle& bundle, const RowSelection& rows, Rank to, int tag) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  if (goes_straight(rows)) {
    for (const Tensor& tensor : bundle) transfers_.push_back(transport.send(bytes_of(tensor), to, tag));
    return;
  }
  const std::span<const std::byte> message = staged(bundle, rows);
  copy_rows(RowCopy::kPack, bundle, rows);
  departing_ = Departure{&transport, message, to, tag};
  is_complete();
}

void Parcel::receive(Transport& transport, const Bundle& bundle, RowSelection rows, Rank from, int tag) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  if (goes_straight(rows)) {
    for (const Tensor& tensor : bundle) transfers_.push_back(transport.receive(bytes_of(tensor), from, tag));
  } else {
    copied_->wait();
    transfers_.push_back(transport.receive(staged(bundle, rows), from, tag));
  }
  arriving_ = Arrival{bundle, std::move(rows)};
}

bool Parcel::is_complete() {
  if (departing_) {
    if (!copied_->is_reached()) return false;
    transfers_.push_back(departing_->transport->send(departing_->message, departing_->to, departing_->tag));
    departing_.reset();
  }
  return std::all_of(transfers_.begin(), transfers_.end(), [](const Transfer& transfer) { return transfer->is_complete(); });
}

void Parcel::finish() {
  for (const Transfer& transfer : transfers_) transfer->wait();
  transfers_.clear();
  if (!arriving_) return;
  const Arrival arrival = std::move(*arriving_);
  arriving_.reset();
  if (!goes_straight(arrival.rows)) copy_rows(RowCopy::kUnpack, arrival.bundle, arrival.rows);
}

}  // namespace hilbertring

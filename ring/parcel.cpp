#include "ring/parcel.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

std::span<std::byte> bytes_of(const Tensor& tensor) { return {tensor.data, static_cast<std::size_t>(tensor.size_bytes())}; }

Buffer make_message(const Mailroom& mailroom, std::int64_t num_bytes, const RankMeters& meters) {
  return mailroom.link != nullptr ? mailroom.device.allocate(num_bytes, meters.device) : mailroom.device.allocate_shared(num_bytes, meters.host);
}

}  // namespace

Parcel::Parcel(const Mailroom& mailroom, const ParcelBytes& sizes, const RankMeters& meters)
    : mailroom_(&mailroom),
      message_(make_message(mailroom, sizes.message, meters)),
      table_(mailroom.device.allocate_shared(sizes.table, meters.host)),
      copied_(mailroom.device.make_mark()) {}

std::span<std::byte> Parcel::staged(const Bundle& bundle, const RowSelection& rows) const {
  const std::int64_t num_bytes = message_bytes(bundle, rows);
  if (num_bytes > message_.size_bytes()) {
    throw failure("a message of " + std::to_string(num_bytes) + " bytes does not fit the " + std::to_string(message_.size_bytes()) +
                  " bytes that were predicted for it");
  }
  return message_.bytes().first(static_cast<std::size_t>(num_bytes));
}

void Parcel::copy_rows(RowCopy direction, const Bundle& bundle, const RowSelection& rows) {
  copied_->wait();  // the device may still be reading the last table
  const RowTable table = rows.write_table(bundle.front().heads, table_.bytes());
  std::byte* message = message_.data();
  for (const Tensor& tensor : bundle) {
    mailroom_->device.copy_rows(direction, tensor, table, message);
    message += tensor.batch * table.num_rows * tensor.row_bytes();
  }
  copied_->set(WorkQueue::kTransfer);
}

void Parcel::send_bytes(std::span<const std::byte> bytes, Rank to, int tag) {
  if (mailroom_->link != nullptr) return mailroom_->link->send(bytes, to, tag);
  transfers_.push_back(mailroom_->transport.send(bytes, to, tag));
}

void Parcel::receive_bytes(std::span<std::byte> bytes, Rank from, int tag) {
  if (mailroom_->link != nullptr) return mailroom_->link->receive(bytes, from, tag);
  transfers_.push_back(mailroom_->transport.receive(bytes, from, tag));
}

std::vector<std::vector<ByteRuns>> Parcel::straight_parts(const Bundle& bundle, const RowSelection& rows, Rank peer) const {
  if (mailroom_->path() == MessagePath::kStaged) return {};
  if (!rows.is_everything() && (mailroom_->link == nullptr || !mailroom_->link->takes_parts(peer))) return {};
  std::vector<std::vector<ByteRuns>> all;
  for (const Tensor& tensor : bundle) {
    std::optional<std::vector<ByteRuns>> parts = byte_runs(tensor, rows);
    if (!parts) return {};
    all.push_back(std::move(*parts));
  }
  return all;
}

void Parcel::send_straight(const Bundle& bundle, const std::vector<std::vector<ByteRuns>>& parts, Rank to, int tag) {
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    const std::span<const std::byte> bytes = bytes_of(bundle[i]);
    const bool is_whole = parts[i].size() == 1 && parts[i].front().size_bytes() == bundle[i].size_bytes();
    is_whole ? send_bytes(bytes, to, tag) : mailroom_->link->send_parts(bytes, parts[i], to, tag);
  }
}

void Parcel::send(const Bundle& bundle, const RowSelection& rows, Rank to, int tag) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  if (const auto parts = straight_parts(bundle, rows, to); !parts.empty()) return send_straight(bundle, parts, to, tag);
  const std::span<const std::byte> message = staged(bundle, rows);
  copy_rows(RowCopy::kPack, bundle, rows);
  departing_ = Departure{message, to, tag};
  is_complete();
}

void Parcel::receive(const Bundle& bundle, RowSelection rows, Rank from, int tag) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  const bool goes_straight = !straight_parts(bundle, rows, from).empty();
  if (goes_straight) {
    for (const Tensor& tensor : bundle) receive_bytes(bytes_of(tensor), from, tag);
  } else {
    if (mailroom_->link == nullptr) copied_->wait();  // the host is about to write where the device reads
    receive_bytes(staged(bundle, rows), from, tag);
  }
  arriving_ = Arrival{bundle, std::move(rows), goes_straight};
}

bool Parcel::is_complete() {
  if (departing_) {
    if (mailroom_->link == nullptr && !copied_->is_reached()) return false;
    send_bytes(departing_->message, departing_->to, departing_->tag);
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
  if (!arrival.goes_straight) copy_rows(RowCopy::kUnpack, arrival.bundle, arrival.rows);
}

}  // namespace hilbertring

#include "ring/parcel.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {
std::span<std::byte> bytes_of(const Tensor& tensor) { return {tensor.data, static_cast<std::size_t>(tensor.size_bytes())}; }
}  // namespace

std::span<std::byte> Parcel::staged(const Bundle& bundle, const RowSelection& rows) const {
  const std::int64_t num_bytes = message_bytes(bundle, rows);
  if (num_bytes > staging_.size_bytes()) {
    throw failure("a message of " + std::to_string(num_bytes) + " bytes does not fit the " + std::to_string(staging_.size_bytes()) +
                  " bytes that were predicted for it");
  }
  return staging_.bytes().first(static_cast<std::size_t>(num_bytes));
}

void Parcel::send(Transport& transport, const Bundle& bundle, const RowSelection& rows, Rank to, int tag, int num_threads) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  if (rows.is_everything()) {
    for (const Tensor& tensor : bundle) transfers_.push_back(transport.send(bytes_of(tensor), to, tag));
    return;
  }
  const std::span<std::byte> message = staged(bundle, rows);
  pack(bundle, rows, message, num_threads);
  transfers_.push_back(transport.send(message, to, tag));
}

void Parcel::receive(Transport& transport, const Bundle& bundle, RowSelection rows, Rank from, int tag) {
  transfers_.clear();
  if (bundle.empty() || rows.is_empty()) return;
  if (rows.is_everything()) {
    for (const Tensor& tensor : bundle) transfers_.push_back(transport.receive(bytes_of(tensor), from, tag));
  } else {
    transfers_.push_back(transport.receive(staged(bundle, rows), from, tag));
  }
  arriving_ = Arrival{bundle, std::move(rows)};
}

bool Parcel::is_complete() {
  return std::all_of(transfers_.begin(), transfers_.end(), [](const Transfer& transfer) { return transfer->is_complete(); });
}

std::optional<RowSelection> Parcel::finish(int num_threads) {
  for (const Transfer& transfer : transfers_) transfer->wait();
  transfers_.clear();
  if (!arriving_) return std::nullopt;
  Arrival arrival = std::move(*arriving_);
  arriving_.reset();
  if (!arrival.rows.is_everything()) unpack(staged(arrival.bundle, arrival.rows), arrival.bundle, arrival.rows, num_threads);
  return std::move(arrival.rows);
}

}  // namespace hilbertring

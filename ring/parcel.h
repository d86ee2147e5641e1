#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/compute_device.h"
#include "ring/row_selection.h"
#include "ring/transport.h"

namespace hilbertring {

/// Host memory of one message: the rows as they travel, and the table that says which they are.
struct ParcelBytes {
  std::int64_t message = 0;
  std::int64_t table = 0;

  std::int64_t total() const { return message + table; }
};

/// A place for one message under way. On the host a message that is a whole shard goes straight from or into the tensors; any other is packed into
/// the parcel's own memory, whose size was predicted. Used again and again.
class Parcel {
 public:
  Parcel() = default;
  Parcel(ComputeDevice& device, const ParcelBytes& sizes, const std::shared_ptr<MemoryMeter>& meter);

  /// Precondition: is_idle(). Nothing happens when `rows` is empty. Rows are packed on the transfer queue, and sent by the first is_complete() after
  /// that. The tensors' rows stay in use until is_idle().
  void send(Transport& transport, const Bundle& bundle, const RowSelection& rows, Rank to, int tag);
  /// The rows arrive in `bundle` with finish().
  void receive(Transport& transport, const Bundle& bundle, RowSelection rows, Rank from, int tag);
  /// Whether nothing is under way (a receive also needs finish() before the parcel is free). Never blocks, but sends what has been packed.
  bool is_complete();
  bool is_idle() { return is_complete() && !arriving_; }
  /// Precondition: is_complete(). Unpacks what was received, on the transfer queue.
  void finish();

 private:
  struct Departure {
    Transport* transport;
    std::span<const std::byte> message;
    Rank to;
    int tag;
  };
  struct Arrival {
    Bundle bundle;
    RowSelection rows;
  };
  bool goes_straight(const RowSelection& rows) const { return device_->is_host() && rows.is_everything(); }
  std::span<std::byte> staged(const Bundle& bundle, const RowSelection& rows) const;
  void copy_rows(RowCopy direction, const Bundle& bundle, const RowSelection& rows);

  ComputeDevice* device_ = nullptr;
  Buffer message_, table_;
  std::unique_ptr<WorkMark> copied_;  ///< the device has packed or unpacked the message
  std::vector<Transfer> transfers_;
  std::optional<Departure> departing_;
  std::optional<Arrival> arriving_;
};

}  // namespace hilbertring

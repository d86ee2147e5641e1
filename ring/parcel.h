#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/compute_device.h"
#include "ring/message_path.h"
#include "ring/row_selection.h"
#include "ring/transport.h"

namespace hilbertring {

/// Memory of one message: the rows as they travel (on the device where messages are linked, else the host's), and the table that says which they are
/// (the host's).
struct ParcelBytes {
  std::int64_t message = 0;
  std::int64_t table = 0;
};

/// Memory is counted where it lies.
struct RankMeters {
  std::shared_ptr<MemoryMeter> device, host;
};

/// What messages of a rank pass through.
struct Mailroom {
  Transport& transport;
  ComputeDevice& device;
  DeviceLink* link = nullptr;  ///< null: messages go through the host's memory

  MessagePath path() const { return link != nullptr ? MessagePath::kLinked : device.is_host() ? MessagePath::kHost : MessagePath::kStaged; }
};

/// A place for one message under way. A message that is a whole shard goes straight from and into the tensors where the path allows it, and so do
/// parts of one to and from ranks whose link takes them; any other is packed into the parcel's own memory, whose size was predicted. Used again and
/// again.
class Parcel {
 public:
  Parcel() = default;
  /// The mailroom must outlive the parcel.
  Parcel(const Mailroom& mailroom, const ParcelBytes& sizes, const RankMeters& meters);

  /// Precondition: is_idle(). Nothing happens when `rows` is empty. Rows are packed on the transfer queue, and sent by the first is_complete() after
  /// that, or, over a link, with its group. The tensors' rows stay in use until is_idle(), or, over a link, for work on the transfer queue until
  /// then.
  void send(const Bundle& bundle, const RowSelection& rows, Rank to, int tag);
  /// The rows arrive in `bundle` with finish(). Over a link whole shards arrive there at once.
  void receive(const Bundle& bundle, RowSelection rows, Rank from, int tag);
  /// Whether nothing is under way (a receive also needs finish() before the parcel is free). Never blocks, but sends what has been packed. Over a
  /// link nothing ever is: the transfer queue keeps the order.
  bool is_complete();
  bool is_idle() { return is_complete() && !arriving_; }
  /// Precondition: is_complete(). Unpacks what was received, on the transfer queue.
  void finish();

 private:
  struct Departure {
    std::span<const std::byte> message;
    Rank to;
    int tag;
  };
  struct Arrival {
    Bundle bundle;
    RowSelection rows;
    bool goes_straight;
  };
  /// Of each tensor, the parts that go straight; none if the message must be packed. The same at both ends.
  std::vector<std::vector<ByteRuns>> straight_parts(const Bundle& bundle, const RowSelection& rows, Rank peer) const;
  void send_straight(const Bundle& bundle, const std::vector<std::vector<ByteRuns>>& parts, Rank to, int tag);
  std::span<std::byte> staged(const Bundle& bundle, const RowSelection& rows) const;
  void copy_rows(RowCopy direction, const Bundle& bundle, const RowSelection& rows);
  void send_bytes(std::span<const std::byte> bytes, Rank to, int tag);
  void receive_bytes(std::span<std::byte> bytes, Rank from, int tag);

  const Mailroom* mailroom_ = nullptr;
  Buffer message_, table_;
  std::unique_ptr<WorkMark> copied_;  ///< the device has packed or unpacked the message
  std::vector<Transfer> transfers_;
  std::optional<Departure> departing_;
  std::optional<Arrival> arriving_;
};

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/buffer.h"
#include "ring/row_selection.h"
#include "ring/transport.h"

namespace hilbertring {

/// A place for one message under way. A message that is a whole shard goes straight from or into the tensors; any other is packed into the parcel's
/// own buffer, whose size was predicted. Used again and again.
class Parcel {
 public:
  Parcel() = default;
  Parcel(std::int64_t capacity_bytes, const std::shared_ptr<MemoryMeter>& meter) : staging_(capacity_bytes, meter) {}

  /// Precondition: is_idle(). Nothing happens when `rows` is empty. A message that went straight leaves the tensors' rows in use until is_idle().
  void send(Transport& transport, const Bundle& bundle, const RowSelection& rows, Rank to, int tag, int num_threads);
  /// The rows arrive in `bundle` with finish().
  void receive(Transport& transport, const Bundle& bundle, RowSelection rows, Rank from, int tag);
  /// Whether nothing is under way (a receive also needs finish() before the parcel is free).
  bool is_complete();
  bool is_idle() { return is_complete() && !arriving_; }
  /// Precondition: is_complete(). Unpacks what was received; returns its rows, if anything was.
  std::optional<RowSelection> finish(int num_threads);

 private:
  struct Arrival {
    Bundle bundle;
    RowSelection rows;
  };
  std::span<std::byte> staged(const Bundle& bundle, const RowSelection& rows) const;

  Buffer staging_;
  std::vector<Transfer> transfers_;
  std::optional<Arrival> arriving_;
};

}  // namespace hilbertring

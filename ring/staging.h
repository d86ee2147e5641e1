#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "core/compute_device.h"
#include "ring/redistribution.h"

namespace hilbertring {

/// Fills `piece` with these tokens' rows, laid out as a slab of them. Of all ranks it throws on every one, or on none.
using PieceReader = std::function<void(Range<SequenceIndex> tokens, std::span<std::byte> piece)>;
/// Takes them. Likewise.
using PieceWriter = std::function<void(Range<SequenceIndex> tokens, std::span<const std::byte> piece)>;

/// Rows of a tensor that lies on a device: it packs messages and unpacks them while the host goes on.
class DeviceRows final : public RowSource, public RowTarget {
 public:
  /// Makes lists for messages of up to so many rows. The device must outlive it.
  DeviceRows(ComputeDevice& device, const Tensor& tensor, std::int64_t rows_per_message, const std::shared_ptr<MemoryMeter>& meter);

  void start_pack(std::size_t slot, const RowRun& rows, std::byte* message) override;
  void start_unpack(std::size_t slot, const RowRun& rows, const std::byte* message) override;
  void finish(std::size_t slot) override { slots_[slot].is_copied->wait(); }

  static std::int64_t size_bytes(std::int64_t rows_per_message) { return 2 * rows_per_message * static_cast<std::int64_t>(sizeof(RowOffsets)); }

 private:
  struct Slot {
    Buffer offsets;
    std::unique_ptr<WorkMark> is_copied;
  };
  void start_copy(RowCopy direction, Slot& slot, const RowRun& rows, std::byte* message);

  ComputeDevice& device_;
  Tensor tensor_;
  std::array<Slot, 2> slots_;
};

/// Takes a tensor between slabs in files and a shard on a device, a piece of the slabs at a time. Rows for other ranks go in messages, which the
/// device packs and unpacks while the host looks after their neighbours; this rank's own rows it copies straight between a piece and the shard, while
/// the next piece is read (the last one is written). Holds two pieces and what an exchange needs in shared memory as long as it lives.
///
/// Three pieces:
///   load    host     read 0 | exchange 0 | read 1     | exchange 1  | read 2     | exchange 2
///           device            messages 0 | own rows 0 | messages 1  | own rows 1 | messages 2 | own rows 2
///   store   host              exchange 0              | write 0     | exchange 1              | write 1    | exchange 2 ...
///           device   own rows 0 | messages 0          | own rows 1  | messages 1              | own rows 2 | messages 2
class Staging {
 public:
  /// `shard`: [batch, heads, rows, D] on the device. What is referred to must outlive it.
  Staging(const Redistribution& redistribution, ComputeDevice& device, const Tensor& shard, SlabLayout layout, const SlabCut& cut,
          const std::shared_ptr<MemoryMeter>& meter);
  /// The device may still be at work on what is about to go, if a reader has thrown.
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// Collective, as the redistribution is. What they throw is what readers, writers and the device throw.
  void load(const PieceReader& read);
  void store(const PieceWriter& write);

  /// Bytes of shared memory for it.
  static std::int64_t size_bytes(const SlabCut& cut, std::int64_t batch, std::int64_t heads, std::int64_t row_bytes);

 private:
  struct Piece {
    Buffer rows, offsets;
    std::unique_ptr<WorkMark> is_copied;  ///< the rank's own rows
  };
  Piece& slot(std::int64_t index) { return pieces_[static_cast<std::size_t>(index % 2)]; }
  Range<SequenceIndex> tokens_of(std::int64_t index) const;
  std::span<std::byte> bytes_of(std::int64_t index);
  StridedRows<std::byte> rows_of(std::int64_t index);
  void start_own_rows(RowCopy direction, std::int64_t index);
  void exchange_to_shard(std::int64_t index);
  void exchange_to_slab(std::int64_t index);

  const Redistribution& redistribution_;
  ComputeDevice& device_;
  Tensor shard_;
  SlabLayout layout_;
  SlabCut cut_;
  RowExchange exchange_;
  std::array<Piece, 2> pieces_;
  DeviceRows on_device_;
  RowExchanger exchanger_;
};

}  // namespace hilbertring

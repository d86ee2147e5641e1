#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/block_attention.h"
#include "core/buffer.h"
#include "core/random.h"
#include "core/tensor.h"

namespace hilbertring {

/// A device does its work in two queues, each in the order handed in: attention and what belongs to it, and the packing and unpacking of messages.
/// The host's processors do everything at once: its queues are always empty.
enum class WorkQueue { kCompute, kTransfer };

/// A point in a queue's work.
class WorkMark {
 public:
  virtual ~WorkMark() = default;
  /// Moves the mark to behind all work handed in to the queue so far.
  virtual void set(WorkQueue queue) = 0;
  /// Later work of the queue waits for the mark; at once if it was never set. So with the next two.
  virtual void hold(WorkQueue queue) = 0;
  virtual bool is_reached() = 0;
  /// Blocks the calling thread. Throws Error(kFailure) if work before the mark failed.
  virtual void wait() = 0;
};

/// Measures how long the compute queue takes for work, or stands still.
class QueueClock {
 public:
  virtual ~QueueClock() = default;
  /// Around what is handed to the queue, or what it is made to wait for.
  virtual void begin() = 0;
  virtual void end() = 0;
  /// Between all begin() and end() so far. The queue must be empty.
  virtual double seconds() = 0;
};

/// 64 neighbouring rows of a shard: which of them a message holds, and how many it holds of the same head before them.
struct RowWord {
  std::uint64_t bits;
  std::int64_t num_before;
};

/// A head's place in a RowTable: its first word, and the number of rows of lower heads of a batch element.
struct HeadRows {
  std::int64_t first_word;
  std::int64_t num_before;
};

/// Which rows of [batch, heads, rows, columns] a message holds. The arrays lie in the host's memory where the device can read them
/// (`allocate_shared`).
struct RowTable {
  const HeadRows* heads;  ///< [heads]
  const RowWord* words;   ///< ceil(rows / 64) per head; heads may share them
  std::int64_t num_rows;  ///< of all heads, of one batch element
};

enum class RowCopy { kPack, kUnpack };

/// Where a row lies, in bytes from the begin of what holds it on either side: its first head, if it has several.
struct RowOffsets {
  std::int64_t on_device, on_host;
};

/// Rows with all their heads, in any order.
struct ListedRows {
  std::span<const RowOffsets> offsets;  ///< shared memory; stays as it is until the copy is done
  std::int64_t heads = 1;
  std::int64_t row_bytes = 0;                                 ///< of one head
  std::int64_t device_head_stride = 0, host_head_stride = 0;  ///< bytes from a head of a row to the next
};

/// Which rows of a random tensor (core/random.h), [B, num_tokens, heads, D] in files, a tensor takes: row i of each head is token tokens[i].
struct RandomRows {
  std::uint64_t seed;
  TensorId id;
  std::int64_t num_tokens;
  std::span<const std::int64_t> tokens;  ///< on the device
};

/// What holds a rank's tensors and works on them: the host's memory and processors, or a GPU. Every rank has its own and calls it from one thread.
/// Tensors are this device's unless it says otherwise.
class ComputeDevice {
 public:
  virtual ~ComputeDevice() = default;

  /// "CPU, AVX3, 2 threads"
  virtual std::string description() const = 0;
  /// Whether tensors lie in the host's memory, so that it may read and send them as they are, and all work is done when a call returns.
  virtual bool is_host() const = 0;
  /// Threads for the host's part of the work.
  virtual int num_host_threads() const = 0;
  virtual BlockAttention& attention() = 0;
  /// The type to which `attention` rounds softmax weights before it multiplies them, for inputs of a type.
  virtual ElementType weights_type(ElementType input_type) const = 0;

  virtual Buffer allocate(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) = 0;
  /// Host memory that the device reads and writes at full speed.
  virtual Buffer allocate_shared(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) = 0;

  // On the compute queue.
  virtual void fill(const Tensor& tensor, double value) = 0;
  /// The same bits on every device: normal_at(), rounded once to the tensor's type.
  virtual void fill_random(const Tensor& tensor, const RandomRows& rows) = 0;
  /// dst[i] = factor * src[i], rounded once to dst's type; same sizes, no overlap; src float32 or float64.
  virtual void convert(const ConstTensor& src, const Tensor& dst, double factor) = 0;
  /// From shared host memory to the device and back.
  virtual void copy_in(std::byte* device, const std::byte* host, std::int64_t num_bytes) = 0;
  virtual void copy_out(std::byte* host, const std::byte* device, std::int64_t num_bytes) = 0;
  /// Likewise for rows that lie anywhere, from the device to shared memory (kPack) or back.
  virtual void copy_listed_rows(RowCopy direction, std::byte* device, const ListedRows& rows, std::byte* host) = 0;

  /// On the transfer queue: copies the rows of the table from the tensor into `message` (shared memory), or back: batch elements, in them heads, in
  /// them rows, ascending.
  virtual void copy_rows(RowCopy direction, const Tensor& tensor, const RowTable& table, std::byte* message) = 0;

  virtual std::unique_ptr<WorkMark> make_mark() = 0;
  virtual std::unique_ptr<QueueClock> make_queue_clock() = 0;
  /// Blocks until both queues are empty. Throws Error(kFailure) if some work failed.
  virtual void wait() = 0;
};

}  // namespace hilbertring

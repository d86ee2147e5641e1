#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

#include "core/buffer.h"

namespace hilbertring {

/// Throws Error(kFailure, "CUDA") with the runtime's words unless the call succeeded. Also for launches: check(cudaGetLastError()).
void check(cudaError_t status, std::source_location where = std::source_location::current());

/// Number of GPUs that this process may use. 0 where there is no driver or no GPU: what programs ask before they skip or refuse.
int num_cuda_devices();

/// Makes GPU `index` (of those that CUDA_VISIBLE_DEVICES leaves) this thread's, for all calls that follow. Throws Error(kFailure) if there is none of
/// that index, or if it is older than compute capability 8.0.
void use_cuda_device(int index);

/// The first half of the current device's UUID.
std::uint64_t cuda_device_identity();

/// Bytes of the current device that nobody holds.
std::int64_t free_device_bytes();

/// "NVIDIA H200, compute capability 9.0, 132 multiprocessors, 139.7 GiB": the current device.
std::string cuda_device_description();

/// Throws Error(kFailure) with both figures if the current device has fewer free bytes. `purpose` finishes "... bytes for".
void require_device_memory(std::int64_t num_bytes, const std::string& purpose);

/// A function of the driver, found at run time: programs need not be linked to the driver's library, which machines without a GPU have not got.
/// `since`: the CUDA version whose form of it is meant, such as 12000. Throws Error(kFailure) if the driver has none.
void* find_driver_function(const char* name, unsigned since);
template <class Function>
Function driver_function(const char* name, unsigned since) {
  return reinterpret_cast<Function>(find_driver_function(name, since));
}

/// A queue of work on the current device; work in it runs in order. Non-blocking: it does not wait for the default stream.
class Stream {
 public:
  enum class Priority { kNormal, kHigh };
  explicit Stream(Priority priority = Priority::kNormal);
  Stream(Stream&& other) noexcept : stream_(std::exchange(other.stream_, nullptr)) {}
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  ~Stream();

  cudaStream_t get() const { return stream_; }
  /// Blocks the calling thread until all work handed in so far is done; throws if some of it failed.
  void wait() const;

 private:
  cudaStream_t stream_ = nullptr;
};

/// A point in a stream's work. `kTimed` events can be subtracted; the others cost less.
class Event {
 public:
  enum class Kind { kOrder, kTimed };
  explicit Event(Kind kind = Kind::kOrder);
  Event(Event&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~Event();

  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream);
  bool is_reached() const;
  /// Blocks the calling thread until the recorded point is reached; at once if nothing was recorded.
  void wait() const;
  /// Makes later work of a stream wait for the recorded point.
  void hold(cudaStream_t stream) const;
  /// Milliseconds from `begin` to this event, both timed and reached.
  double milliseconds_since(const Event& begin) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Device memory (aligned to 256 bytes; in pages of its own, so that another process can map it and nothing else), and pinned host memory that the
/// device reads and writes at full speed: uninitialised. Throw Error(kFailure) that names the size and what is free when it can't be had.
Buffer make_device_buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter);
Buffer make_pinned_buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter);

}  // namespace hilbertring

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace hilbertring {

/// Bytes that one rank holds now and held at most; buffers report to it, the memory prediction is compared with it. Not shared between ranks.
class MemoryMeter {
 public:
  void add(std::int64_t bytes) {
    current_bytes_ += bytes;
    if (current_bytes_ > peak_bytes_) peak_bytes_ = current_bytes_;
  }
  void remove(std::int64_t bytes) { current_bytes_ -= bytes; }
  std::int64_t current_bytes() const { return current_bytes_; }
  std::int64_t peak_bytes() const { return peak_bytes_; }

 private:
  std::int64_t current_bytes_ = 0;
  std::int64_t peak_bytes_ = 0;
};

/// Memory of one owner, uninitialised, move-only. The constructor's is the host's, aligned to 64 bytes; it throws Error(kFailure) "not enough memory:
/// ..." when it can't be had.
class Buffer {
 public:
  using Free = void (*)(std::byte*) noexcept;

  Buffer() = default;
  Buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter);
  /// Takes over memory that `free` gives back: a device's, say.
  Buffer(std::byte* data, std::int64_t num_bytes, Free free, std::shared_ptr<MemoryMeter> meter);
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(Buffer&&) noexcept = default;

  std::byte* data() const { return data_.get(); }
  std::int64_t size_bytes() const { return size_bytes_; }
  std::span<std::byte> bytes() const { return {data_.get(), static_cast<std::size_t>(size_bytes_)}; }
  /// Host memory only.
  void fill_zero();

 private:
  struct Release {
    std::int64_t num_bytes;
    Free free;
    std::shared_ptr<MemoryMeter> meter;
    void operator()(std::byte* data) const noexcept;
  };
  std::unique_ptr<std::byte[], Release> data_;
  std::int64_t size_bytes_ = 0;
};

}  // namespace hilbertring

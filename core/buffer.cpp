#include "core/buffer.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr std::size_t kAlignment = 64;

std::byte* allocate_host_memory(std::int64_t num_bytes) {
  const std::size_t padded = (static_cast<std::size_t>(num_bytes) + kAlignment) / kAlignment * kAlignment;
  auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
  if (data == nullptr) throw failure("not enough memory: a buffer of " + std::to_string(num_bytes) + " bytes can't be had");
  return data;
}

void free_host_memory(std::byte* data) noexcept { std::free(data); }

}  // namespace

Buffer::Buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter)
    : Buffer(allocate_host_memory(num_bytes), num_bytes, free_host_memory, std::move(meter)) {}

Buffer::Buffer(std::byte* data, std::int64_t num_bytes, Free free, std::shared_ptr<MemoryMeter> meter) : size_bytes_(num_bytes) {
  if (meter) meter->add(num_bytes);
  data_ = {data, Release{.num_bytes = num_bytes, .free = free, .meter = std::move(meter)}};
}

void Buffer::fill_zero() {
  if (size_bytes_ > 0) std::memset(data(), 0, static_cast<std::size_t>(size_bytes_));
}

void Buffer::Release::operator()(std::byte* data) const noexcept {
  free(data);
  if (meter) meter->remove(num_bytes);
}

}  // namespace hilbertring

#include "core/buffer.h"

#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {
constexpr std::size_t kAlignment = 64;
}

Buffer::Buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) : size_bytes_(num_bytes) {
  const std::size_t padded = (static_cast<std::size_t>(num_bytes) + kAlignment) / kAlignment * kAlignment;
  auto* data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, padded));
  if (data == nullptr) throw failure("not enough memory: a buffer of " + std::to_string(num_bytes) + " bytes can't be had");
  if (meter) meter->add(num_bytes);
  data_ = {data, Release{.num_bytes = num_bytes, .meter = std::move(meter)}};
}

void Buffer::fill_zero() {
  if (size_bytes_ > 0) std::memset(data(), 0, static_cast<std::size_t>(size_bytes_));
}

void Buffer::Release::operator()(std::byte* data) const noexcept {
  std::free(data);
  if (meter) meter->remove(num_bytes);
}

}  // namespace hilbertring

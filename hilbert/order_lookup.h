#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/index.h"
#include "hilbert/order.h"

namespace hilbertring {

// Up to so many tokens, orders are tabled and every token is looked at. Beyond, look-ups cost microseconds: there are as many samples as a second
// allows.
constexpr std::int64_t kMaxTabledTokens = std::int64_t{1} << 20;
constexpr std::int64_t kMaxSampledTokens = std::int64_t{1} << 13;

/// Both directions of an order: from tables while they are small, else asked token by token. Must not outlive the order.
class OrderLookup {
 public:
  explicit OrderLookup(const Order& order);

  std::int64_t sequence_index(std::int64_t p) const {
    return indices_.empty() ? order_.sequence_index(Position(p)).value : indices_[static_cast<std::size_t>(p)];
  }
  std::int64_t position(std::int64_t t) const {
    return places_.empty() ? order_.position(SequenceIndex(t)).value : places_[static_cast<std::size_t>(t)];
  }

 private:
  const Order& order_;
  std::vector<std::int64_t> indices_, places_;
};

/// Calls action(i) for all i < count, or for at most `max_calls` of them at even distances. Returns how many there were.
template <class Action>
std::int64_t for_samples(std::int64_t count, std::int64_t max_calls, Action&& action) {
  // Odd, so that samples do not all fall on one side of the curves' powers of two.
  const std::int64_t stride = std::max<std::int64_t>(1, ceil_div(count, max_calls)) | 1;
  for (std::int64_t i = 0; i < count; i += stride) action(i);
  return count <= 0 ? 0 : ceil_div(count, stride);
}

}  // namespace hilbertring

#include "hilbert/order_lookup.h"

namespace hilbertring {

OrderLookup::OrderLookup(const Order& order) : order_(order) {
  if (order.num_tokens() > kMaxTabledTokens) return;
  indices_.resize(static_cast<std::size_t>(order.num_tokens()));
  order.fill({Position(0), Position(order.num_tokens())}, indices_);
  places_.resize(indices_.size());
  for (std::size_t p = 0; p < indices_.size(); ++p) places_[static_cast<std::size_t>(indices_[p])] = static_cast<std::int64_t>(p);
}

}  // namespace hilbertring

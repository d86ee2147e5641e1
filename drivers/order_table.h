#pragma once

#include <cstdint>
#include <vector>

#include "core/index.h"
#include "core/reference.h"
#include "hilbert/order.h"

namespace hilbertring {

/// Both directions of an order as tables: the reference asks for every pair.
struct OrderTable {
  std::vector<std::int64_t> index_of;     ///< [N] by position
  std::vector<std::int64_t> position_of;  ///< [N] by sequence index

  explicit OrderTable(const Order& order);
  SequenceIndex index(Position p) const { return SequenceIndex(index_of[static_cast<std::size_t>(p.value)]); }
  Position position(SequenceIndex t) const { return Position(position_of[static_cast<std::size_t>(t.value)]); }
};

/// The tables as the reference asks for them; they must outlive it.
OrderLookup order_lookup(const OrderTable& queries, const OrderTable& keys);

}  // namespace hilbertring

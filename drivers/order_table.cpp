#include "drivers/order_table.h"

#include <cstddef>

namespace hilbertring {

OrderTable::OrderTable(const Order& order)
    : index_of(static_cast<std::size_t>(order.num_tokens())), position_of(static_cast<std::size_t>(order.num_tokens())) {
  order.fill({Position(0), Position(order.num_tokens())}, index_of);
  for (std::size_t p = 0; p < index_of.size(); ++p) position_of[static_cast<std::size_t>(index_of[p])] = static_cast<std::int64_t>(p);
}

OrderLookup order_lookup(const OrderTable& queries, const OrderTable& keys) {
  return {.query_index = [&queries](Position p) { return queries.index(p); },
          .key_index = [&keys](Position p) { return keys.index(p); },
          .query_position = [&queries](SequenceIndex t) { return queries.position(t); },
          .key_position = [&keys](SequenceIndex t) { return keys.position(t); }};
}

}  // namespace hilbertring

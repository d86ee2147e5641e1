#include "ring/problem.h"

#include <string>

#include "core/error.h"
#include "ring/placement.h"

namespace hilbertring {

void Problem::validate(std::int64_t num_ranks) const {
  shape.validate();
  specification.validate(shape);
  if (num_ranks < 1) throw usage_error("the number of ranks is " + std::to_string(num_ranks) + "; it must be at least 1");
  const ChunkPlacement placement(shape.tokens, specification.chunk_for(shape), specification.placement, num_ranks);
  if (num_ranks > placement.num_units()) {
    throw usage_error("too many ranks: " + std::to_string(num_ranks) + " ranks, but " + std::to_string(shape.tokens) + " tokens in chunks of " +
                      std::to_string(specification.chunk_for(shape)) + " give " + std::to_string(placement.num_units()) +
                      " units; each rank needs at least one (a smaller chunk gives more)");
  }
}

}  // namespace hilbertring

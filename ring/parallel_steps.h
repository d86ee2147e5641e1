#pragma once

#include <cstddef>
#include <functional>

namespace hilbertring {

/// Calls step(i) for each i < count, several at a time, on OpenMP's threads; no exception may leave those, so that an error is thrown when all have
/// ended: one of them, if there are several.
void for_each_in_parallel(std::size_t count, const std::function<void(std::size_t)>& step);

}  // namespace hilbertring

#pragma once

#include <map>
#include <span>
#include <vector>

#include "core/shape.h"
#include "core/specification.h"
#include "drivers/loaded_tensor.h"
#include "hilbert/order.h"
#include "io/case_file.h"

namespace hilbertring {

/// Tensors in float64, laid out as in a file.
using ExpectedValues = std::map<TensorName, std::vector<double>>;

/// o and lse of a whole problem by the float64 reference, and dq, dk, dv if do is among the inputs: the same bits on every machine. `inputs` are q,
/// k, v and maybe do, in this order. O(N w) on all threads.
ExpectedValues expected_values(const Shape& shape, const Specification& specification, const Orders& orders, std::span<const LoadedTensor> inputs);

}  // namespace hilbertring

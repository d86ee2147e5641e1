#pragma once

#include <cstdint>

#include "core/cuda/kernels.h"

namespace hilbertring {

/// Whether the current device runs Hopper's kernels for this type and head dimension: the one place that chooses. A function of the kind of device
/// and of what the program was built for, so that bits stay equal on a kind of device.
template <class Stored>
bool has_hopper_forward(std::int64_t head_dim);
template <class Stored>
bool has_hopper_backward(std::int64_t head_dim);

template <class Stored>
void launch_hopper_forward(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter);
/// Adds to dq where queries are the owners of the list, to dk and dv where keys are.
template <class Stored>
void launch_hopper_backward(const Launch& launch, Owner owner, const BackwardOperands& operands);

}  // namespace hilbertring

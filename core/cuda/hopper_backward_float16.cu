#include "core/cuda/hopper.h"
#include "core/cuda/hopper_backward.cuh"

namespace hilbertring {

template <>
bool has_hopper_backward<Float16>(std::int64_t head_dim) {
  return has_hopper_backward_code<Float16>(head_dim);
}

template <>
void launch_hopper_backward<Float16>(const Launch& launch, Owner owner, const BackwardOperands& operands) {
  if (owner == Owner::kQueries) {
    launch_hopper_backward_of<Owner::kQueries, Float16>(launch, operands);
  } else {
    launch_hopper_backward_of<Owner::kKeys, Float16>(launch, operands);
  }
}

}  // namespace hilbertring

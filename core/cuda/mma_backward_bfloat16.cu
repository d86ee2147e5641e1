#include "core/cuda/hopper.h"
#include "core/cuda/mma_backward.cuh"

namespace hilbertring {

namespace {
void launch_backward(const Launch& launch, Owner owner, const BackwardOperands& operands) {
  if (has_hopper_backward<Bfloat16>(operands.q.columns)) {
    launch_hopper_backward<Bfloat16>(launch, owner, operands);
  } else {
    launch_mma_backward<Bfloat16>(launch, owner, operands);
  }
}
}  // namespace

template <>
void launch_query_gradient<Bfloat16>(const Launch& launch, const BackwardOperands& operands) {
  launch_backward(launch, Owner::kQueries, operands);
}
template <>
void launch_key_gradients<Bfloat16>(const Launch& launch, const BackwardOperands& operands) {
  launch_backward(launch, Owner::kKeys, operands);
}

}  // namespace hilbertring

#include "core/cuda/mma_backward.cuh"

namespace hilbertring {

template <>
void launch_query_gradient<Bfloat16>(const Launch& launch, const BackwardOperands& operands) {
  launch_mma_backward<Bfloat16>(launch, Owner::kQueries, operands);
}
template <>
void launch_key_gradients<Bfloat16>(const Launch& launch, const BackwardOperands& operands) {
  launch_mma_backward<Bfloat16>(launch, Owner::kKeys, operands);
}

}  // namespace hilbertring

#include "core/cuda/mma_backward.cuh"

namespace hilbertring {

template <>
void launch_query_gradient<Float16>(const Launch& launch, const BackwardOperands& operands) {
  launch_mma_backward<Float16>(launch, Owner::kQueries, operands);
}
template <>
void launch_key_gradients<Float16>(const Launch& launch, const BackwardOperands& operands) {
  launch_mma_backward<Float16>(launch, Owner::kKeys, operands);
}

}  // namespace hilbertring

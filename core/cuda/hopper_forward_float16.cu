#include "core/cuda/hopper.h"
#include "core/cuda/hopper_forward.cuh"

namespace hilbertring {

template <>
bool has_hopper_forward<Float16>(std::int64_t head_dim) {
  return has_hopper_forward_code<Float16>(head_dim);
}

template <>
void launch_hopper_forward<Float16>(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  launch_hopper_forward_of<Float16>(launch, operands, pair_counter);
}

}  // namespace hilbertring

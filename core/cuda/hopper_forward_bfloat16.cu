#include "core/cuda/hopper.h"
#include "core/cuda/hopper_forward.cuh"

namespace hilbertring {

template <>
bool has_hopper_forward<Bfloat16>(std::int64_t head_dim) {
  return has_hopper_forward_code<Bfloat16>(head_dim);
}

template <>
void launch_hopper_forward<Bfloat16>(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  launch_hopper_forward_of<Bfloat16>(launch, operands, pair_counter);
}

}  // namespace hilbertring

#include "core/cuda/hopper.h"
#include "core/cuda/hopper_turns.cuh"

namespace hilbertring {

template <>
bool has_hopper_turns<Bfloat16>(std::int64_t head_dim) {
  return has_hopper_turns_code<Bfloat16>(head_dim);
}

template <>
void launch_hopper_turns<Bfloat16>(const Launch& launch, const BackwardOperands& operands) {
  launch_hopper_turns_of<Bfloat16>(launch, operands);
}

}  // namespace hilbertring

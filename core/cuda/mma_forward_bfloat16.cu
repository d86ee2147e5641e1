#include "core/cuda/hopper.h"
#include "core/cuda/mma_forward.cuh"

namespace hilbertring {

template <>
void launch_forward<Bfloat16>(const Launch& launch, const ForwardOperands& operands, unsigned long long* pair_counter) {
  if (has_hopper_forward<Bfloat16>(operands.q.columns)) {
    launch_hopper_forward<Bfloat16>(launch, operands, pair_counter);
  } else {
    launch_mma_forward<Bfloat16>(launch, operands, pair_counter);
  }
}

}  // namespace hilbertring

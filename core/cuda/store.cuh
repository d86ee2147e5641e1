#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "core/element_type.h"

namespace hilbertring {

/// One rounding from double.
__device__ inline void store(float* to, double value) { *to = static_cast<float>(value); }
__device__ inline void store(double* to, double value) { *to = value; }
__device__ inline void store(Float16* to, double value) { to->bits = __half_as_ushort(__double2half(value)); }
__device__ inline void store(Bfloat16* to, double value) { to->bits = __bfloat16_as_ushort(__double2bfloat16(value)); }

}  // namespace hilbertring

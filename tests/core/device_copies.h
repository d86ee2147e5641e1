#pragma once

#include <memory>
#include <string>

#include "core/block_attention.h"
#include "core/cuda/score_gradients.h"

namespace hilbertring {

/// CUDA kernels behind host tensors: each call copies its operands to the device, between margins of NaN, and its results back, and throws if a
/// margin was written to. So tests that were written for host memory try the device, and no call can lean on what another left there.
std::unique_ptr<BlockAttention> make_copying_cuda_attention(std::int64_t score_gradient_bytes = kScoreGradientBytes);

/// Why GPU tests can't run here, or "".
std::string missing_gpu();

}  // namespace hilbertring

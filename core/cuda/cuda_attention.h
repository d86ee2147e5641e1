#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/block_attention.h"
#include "core/buffer.h"
#include "core/cuda/score_gradients.h"

namespace hilbertring {

/// Kernels for the current device (compute capability 8.0 or newer). All tensors and times lie in its memory, tensors aligned to 16 bytes. Calls are
/// asynchronous on `stream`, which must outlive the object; errors of the host's side are thrown at once, those of kernels by whoever waits.
///
/// `forward` returns the allowed pairs that the host can count; with sequence causality, where times lie on the device, it returns 0 and
/// `take_uncounted_pairs` gives them, waiting for the stream. Work lists and their pinned copies are reported to `meter`, may be null.
///
/// The backward pass keeps score gradients between its kernels where it can (backward_panels.h), in at most `score_gradient_bytes` of the device's
/// memory that are reported, too: they change its speed, never a bit of its results.
std::unique_ptr<BlockAttention> make_cuda_attention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter,
                                                    std::int64_t score_gradient_bytes = kScoreGradientBytes);

}  // namespace hilbertring

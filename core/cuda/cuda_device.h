#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "core/compute_device.h"

namespace hilbertring {

/// GPU `index` of those that this process sees, which becomes the calling thread's. What its kernels need for themselves is reported to `scratch`,
/// may be null; `num_host_threads` work on the host's part. Throws Error(kFailure) if there is no such GPU or it is too old.
std::unique_ptr<ComputeDevice> make_cuda_device(int index, int num_host_threads, std::shared_ptr<MemoryMeter> scratch);

/// The stream that is a GPU's queue: for libraries that put work of their own into it. Precondition: `device` was made by make_cuda_device.
cudaStream_t stream_of(ComputeDevice& device, WorkQueue queue);

}  // namespace hilbertring

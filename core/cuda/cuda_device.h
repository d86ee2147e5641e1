#pragma once

#include <memory>

#include "core/compute_device.h"

namespace hilbertring {

/// GPU `index` of those that this process sees, which becomes the calling thread's. What its kernels need for themselves is reported to `scratch`,
/// may be null; `num_host_threads` work on the host's part. Throws Error(kFailure) if there is no such GPU or it is too old.
std::unique_ptr<ComputeDevice> make_cuda_device(int index, int num_host_threads, std::shared_ptr<MemoryMeter> scratch);

}  // namespace hilbertring

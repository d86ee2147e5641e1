#pragma once

#include <memory>

#include "core/compute_device.h"

namespace hilbertring {

/// The host: `num_threads` threads for kernels and copies.
std::unique_ptr<ComputeDevice> make_cpu_device(int num_threads);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "core/compute_device.h"

namespace hilbertring {

/// What computes.
enum class Backend { kCpu, kCuda };
std::string_view to_string(Backend backend);

/// Whether this build has the CUDA kernels.
bool has_cuda_build();
/// GPUs that this process may use: 0 without a driver, without a GPU, or in a build without CUDA.
int num_usable_gpus();
/// Bytes of the GPU that nobody holds; throws Error(kFailure) if there is no such GPU.
std::int64_t free_gpu_bytes(int gpu);

/// A number that no other GPU has, on this node or another.
std::uint64_t gpu_identity(int gpu);

/// A rank's own device. `gpu`: index among those that the process sees; `num_threads`: of the CPU's kernels, or of the host's part of the work.
/// `scratch` (may be null) counts what a GPU's kernels need for themselves. Throws Error(kFailure) that says what is missing.
std::unique_ptr<ComputeDevice> make_device(Backend backend, int gpu, int num_threads, std::shared_ptr<MemoryMeter> scratch);

}  // namespace hilbertring

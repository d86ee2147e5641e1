#include "ring/backend.h"

#include <utility>

#include "core/cpu/cpu_device.h"
#include "core/error.h"
#ifdef HILBERTRING_HAS_CUDA
#include "core/cuda/cuda_device.h"
#include "core/cuda/device.h"
#endif

namespace hilbertring {

std::string_view to_string(Backend backend) { return backend == Backend::kCuda ? "cuda" : "cpu"; }

#ifdef HILBERTRING_HAS_CUDA

bool has_cuda_build() { return true; }
int num_usable_gpus() { return num_cuda_devices(); }
std::int64_t free_gpu_bytes(int gpu) {
  use_cuda_device(gpu);
  return free_device_bytes();
}

std::uint64_t gpu_identity(int gpu) {
  use_cuda_device(gpu);
  return cuda_device_identity();
}

namespace {
std::unique_ptr<ComputeDevice> make_gpu(int gpu, int num_threads, std::shared_ptr<MemoryMeter> scratch) {
  return make_cuda_device(gpu, num_threads, std::move(scratch));
}
}  // namespace

#else

namespace {
[[noreturn]] void refuse() { throw failure("this program was built without CUDA: build it where nvcc is found, or use the backend cpu"); }
std::unique_ptr<ComputeDevice> make_gpu(int, int, const std::shared_ptr<MemoryMeter>&) { refuse(); }
}  // namespace

bool has_cuda_build() { return false; }
int num_usable_gpus() { return 0; }
std::int64_t free_gpu_bytes(int) { refuse(); }
std::uint64_t gpu_identity(int) { refuse(); }

#endif

std::unique_ptr<ComputeDevice> make_device(Backend backend, int gpu, int num_threads, std::shared_ptr<MemoryMeter> scratch) {
  return backend == Backend::kCuda ? make_gpu(gpu, num_threads, std::move(scratch)) : make_cpu_device(num_threads);
}

}  // namespace hilbertring

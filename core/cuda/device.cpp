#include "core/cuda/device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "core/error.h"

namespace hilbertring {

namespace {

constexpr int kOldestMajor = 8;
/// The driver puts smaller allocations together on one page.
constexpr std::int64_t kPageBytes = std::int64_t{2} << 20;
constexpr double kBytesPerGib = 1024.0 * 1024.0 * 1024.0;

std::string in_gib(std::int64_t num_bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(num_bytes) / kBytesPerGib);
  return text;
}

cudaDeviceProp properties_of(int device) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device));
  return properties;
}

/// The current device's name, for messages about a thing that failed there already: asks for nothing that may throw.
std::string device_name() {
  int device = 0;
  cudaDeviceProp properties{};
  if (cudaGetDevice(&device) != cudaSuccess || cudaGetDeviceProperties(&properties, device) != cudaSuccess) return "the GPU";
  return "GPU " + std::to_string(device) + " (" + properties.name + ")";
}

}  // namespace

void check(cudaError_t status, std::source_location where) {
  if (status == cudaSuccess) return;
  // An error that sticks would be reported again by the next, innocent call.
  static_cast<void>(cudaGetLastError());
  throw Error(ErrorKind::kFailure, "CUDA", std::string(cudaGetErrorString(status)) + " (" + cudaGetErrorName(status) + ")", -1, where);
}

int num_cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  static_cast<void>(cudaGetLastError());
  return 0;
}

void* find_driver_function(const char* name, unsigned since) {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult result{};
  check(cudaGetDriverEntryPointByVersion(name, &function, since, cudaEnableDefault, &result));
  if (result != cudaDriverEntryPointSuccess) throw Error(ErrorKind::kFailure, "CUDA", std::string("the driver has no ") + name);
  return function;
}

void use_cuda_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    static_cast<void>(cudaGetLastError());
    const std::string reason = status == cudaSuccess ? "" : std::string(" (") + cudaGetErrorString(status) + ")";
    throw Error(ErrorKind::kFailure, "CUDA", "no GPU can be used here" + reason + ": is there one, and does CUDA_VISIBLE_DEVICES name it?");
  }
  if (index < 0 || index >= count) {
    throw Error(ErrorKind::kFailure, "CUDA",
                "GPU " + std::to_string(index) + " was asked for, but this process sees " + std::to_string(count) +
                    (count == 1 ? " (GPU 0)" : " (GPUs 0 to " + std::to_string(count - 1) + ")") +
                    ": use as many ranks per node as it has GPUs, or mend CUDA_VISIBLE_DEVICES");
  }
  const cudaDeviceProp properties = properties_of(index);
  if (properties.major < kOldestMajor) {
    throw Error(ErrorKind::kFailure, "CUDA",
                "GPU " + std::to_string(index) + " (" + properties.name + ") has compute capability " + std::to_string(properties.major) + "." +
                    std::to_string(properties.minor) + ", but the kernels need 8.0 or newer");
  }
  check(cudaSetDevice(index));
}

std::string cuda_device_description() {
  int device = 0;
  check(cudaGetDevice(&device));
  const cudaDeviceProp properties = properties_of(device);
  return std::string(properties.name) + ", compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", " +
         std::to_string(properties.multiProcessorCount) + " multiprocessors, " + in_gib(static_cast<std::int64_t>(properties.totalGlobalMem));
}

std::uint64_t cuda_device_identity() {
  int device = 0;
  check(cudaGetDevice(&device));
  const cudaDeviceProp properties = properties_of(device);
  std::uint64_t identity = 0;
  std::memcpy(&identity, properties.uuid.bytes, sizeof identity);
  return identity;
}

std::int64_t free_device_bytes() {
  std::size_t num_free = 0, num_all = 0;
  check(cudaMemGetInfo(&num_free, &num_all));
  return static_cast<std::int64_t>(num_free);
}

void require_device_memory(std::int64_t num_bytes, const std::string& purpose) {
  const std::int64_t num_free = free_device_bytes();
  if (num_bytes <= num_free) return;
  throw Error(ErrorKind::kFailure, "CUDA",
              device_name() + " has " + in_gib(num_free) + " free, but " + in_gib(num_bytes) + " are needed for " + purpose);
}

Stream::Stream(Priority priority) {
  int lowest = 0, highest = 0;
  check(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, priority == Priority::kHigh ? highest : lowest));
}

Stream::~Stream() {
  if (stream_ != nullptr) static_cast<void>(cudaStreamDestroy(stream_));
}

void Stream::wait() const { check(cudaStreamSynchronize(stream_)); }

Event::Event(Kind kind) { check(cudaEventCreateWithFlags(&event_, kind == Kind::kTimed ? cudaEventDefault : cudaEventDisableTiming)); }

Event::~Event() {
  if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
}

void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream)); }

bool Event::is_reached() const {
  const cudaError_t status = cudaEventQuery(event_);
  if (status != cudaErrorNotReady) check(status);
  return status == cudaSuccess;
}

void Event::wait() const { check(cudaEventSynchronize(event_)); }

void Event::hold(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0)); }

double Event::milliseconds_since(const Event& begin) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.event_, event_));
  return static_cast<double>(milliseconds);
}

namespace {

void free_device_memory(std::byte* data) noexcept { static_cast<void>(cudaFree(data)); }
void free_pinned_memory(std::byte* data) noexcept { static_cast<void>(cudaFreeHost(data)); }

/// Whether the call gave memory; false if there was not enough.
bool was_given(cudaError_t status) {
  if (status == cudaErrorMemoryAllocation) static_cast<void>(cudaGetLastError());
  if (status != cudaErrorMemoryAllocation) check(status);
  return status == cudaSuccess;
}

}  // namespace

Buffer make_device_buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) {
  if (num_bytes <= 0) return {};
  void* data = nullptr;
  if (!was_given(cudaMalloc(&data, static_cast<std::size_t>(std::max(num_bytes, kPageBytes))))) {
    throw failure("not enough memory: " + device_name() + " can't give " + in_gib(num_bytes) + " at once; " + in_gib(free_device_bytes()) +
                  " are free");
  }
  return {static_cast<std::byte*>(data), num_bytes, free_device_memory, std::move(meter)};
}

Buffer make_pinned_buffer(std::int64_t num_bytes, std::shared_ptr<MemoryMeter> meter) {
  if (num_bytes <= 0) return {};
  void* data = nullptr;
  if (!was_given(cudaMallocHost(&data, static_cast<std::size_t>(num_bytes)))) {
    throw failure("not enough memory: " + in_gib(num_bytes) + " of pinned host memory can't be had");
  }
  return {static_cast<std::byte*>(data), num_bytes, free_pinned_memory, std::move(meter)};
}

}  // namespace hilbertring

#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>

#include "core/cuda/device.h"
#include "core/cuda/kernels.h"

namespace hilbertring {

/// Blocks [0, num_blocks) x kernel, checked. `shared_bytes` may exceed the 48 KiB that a kernel gets without asking.
template <class Parameters>
void launch_checked(void (*kernel)(Parameters), std::int64_t num_blocks, unsigned num_threads, std::size_t shared_bytes, cudaStream_t stream,
                    const Parameters& parameters, unsigned num_slices = 1) {
  if (num_blocks == 0) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)));
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(num_blocks), num_slices);
  config.blockDim = dim3(num_threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, parameters));
}

/// Of the current device.
inline std::int64_t num_multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device));
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device));
  return count;
}

/// Rows of [batch, heads, rows, columns] on the device.
template <class T>
struct DeviceRows {
  T* data;
  std::int64_t heads, rows, columns;

  __device__ T* row(std::int64_t batch, std::int64_t head, std::int64_t index) const {
    return data + ((batch * heads + head) * rows + index) * columns;
  }
};

template <class T>
DeviceRows<const T> device_rows(const ConstTensor& tensor) {
  return {reinterpret_cast<const T*>(tensor.data), tensor.heads, tensor.rows, tensor.columns};
}
template <class T>
DeviceRows<T> device_rows(const Tensor& tensor) {
  return {reinterpret_cast<T*>(tensor.data), tensor.heads, tensor.rows, tensor.columns};
}

/// What every attention kernel reads: the work and the inputs that both passes have.
struct WorkView {
  const WorkTile* tiles;
  const OwnRun* own_runs;
  const Meeting* meetings;
  const TimeExtremes* extremes;
  const std::uint32_t* mask_words;
  const std::int64_t* query_times;
  const std::int64_t* key_times;
  Causal causal;
  std::int32_t heads_per_kv_head;
};

inline WorkView work_view(const Launch& launch, const Times& times, const ConstTensor& q, const ConstTensor& k) {
  return {launch.tiles,      launch.own_runs,   launch.meetings,
          launch.extremes,   launch.mask_words, times.queries.data(),
          times.keys.data(), launch.causal,     static_cast<std::int32_t>(q.heads / k.heads)};
}

}  // namespace hilbertring

#include <cmath>
#include <type_traits>

#include "core/cuda/launch.cuh"

namespace hilbertring {

namespace {

constexpr int kWarp = 32;
constexpr int kThreads = 256;
constexpr std::int64_t kRowsPerBlock = kThreads / kWarp;

/// The row of the calling warp, and its lane.
__device__ std::int64_t warp_index() { return (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp; }
__device__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }

struct ExtremesParameters {
  const ExtremesTask* tasks;
  std::int64_t num_tasks;
  const std::int64_t *query_times, *key_times;
  TimeExtremes* extremes;
};

__global__ void find_extremes(const __grid_constant__ ExtremesParameters p) {
  if (warp_index() >= p.num_tasks) return;
  const ExtremesTask task = p.tasks[warp_index()];
  const std::int64_t* times = (task.is_query != 0 ? p.query_times : p.key_times) + task.first_row;
  // A lane without a row of its own repeats the first: extremes don't mind.
  TimeExtremes found{times[0], times[0]};
  for (std::int64_t i = lane_index(); i < task.count; i += kWarp) {
    found.min = min(found.min, times[i * task.stride]);
    found.max = max(found.max, times[i * task.stride]);
  }
  for (int distance = 1; distance < kWarp; distance *= 2) {
    found.min = min(found.min, __shfl_xor_sync(0xffffffffU, found.min, distance));
    found.max = max(found.max, __shfl_xor_sync(0xffffffffU, found.max, distance));
  }
  if (lane_index() == 0) p.extremes[warp_index()] = found;
}

template <class Real>
struct FinishParameters {
  Real *row_max, *o;
  const Real* row_sum;
  std::int64_t num_rows, num_columns;
};

template <class Real>
__global__ void finish_rows(const __grid_constant__ FinishParameters<Real> p) {
  const std::int64_t row = warp_index();
  if (row >= p.num_rows) return;
  const Real max = p.row_max[row];
  const Real sum = p.row_sum[row];
  const bool is_empty = max == -static_cast<Real>(INFINITY);
  Real* o = p.o + row * p.num_columns;
  for (std::int64_t c = lane_index(); c < p.num_columns; c += kWarp) o[c] = is_empty ? Real{0} : o[c] / sum;
  __syncwarp();
  if (lane_index() == 0 && !is_empty) p.row_max[row] = static_cast<Real>(static_cast<double>(max) + log2(static_cast<double>(sum)));
}

template <class Stored, class Real>
struct DotParameters {
  const Stored* d_o;
  const Real* o;
  Real* delta;
  std::int64_t num_rows, num_columns;
};

template <class Stored>
__device__ double widened(Stored value) {
  if constexpr (std::is_same_v<Stored, double>) {
    return value;
  } else {
    return static_cast<double>(to_float(value));
  }
}

/// Products of two floats are exact in double; lanes are summed up in one fixed order.
template <class Stored, class Real>
__global__ void dot_rows(const __grid_constant__ DotParameters<Stored, Real> p) {
  const std::int64_t row = warp_index();
  if (row >= p.num_rows) return;
  double sum = 0;
  for (std::int64_t c = lane_index(); c < p.num_columns; c += kWarp) {
    sum = fma(widened(p.d_o[row * p.num_columns + c]), static_cast<double>(p.o[row * p.num_columns + c]), sum);
  }
  for (int distance = 1; distance < kWarp; distance *= 2) sum += __shfl_xor_sync(0xffffffffU, sum, distance);
  if (lane_index() == 0) p.delta[row] = static_cast<Real>(sum);
}

template <class Parameters>
void launch_rows(void (*kernel)(Parameters), std::int64_t num_rows, cudaStream_t stream, const Parameters& parameters) {
  launch_checked(kernel, ceil_div(num_rows, kRowsPerBlock), kThreads, 0, stream, parameters);
}

template <class Real>
void finish_in(const ForwardOperands& operands, cudaStream_t stream) {
  const std::int64_t num_rows = operands.o.batch * operands.o.heads * operands.o.rows;
  const FinishParameters<Real> parameters{reinterpret_cast<Real*>(operands.row_max.data), reinterpret_cast<Real*>(operands.o.data),
                                          reinterpret_cast<const Real*>(operands.row_sum.data), num_rows, operands.o.columns};
  launch_rows(finish_rows<Real>, num_rows, stream, parameters);
}

}  // namespace

void launch_extremes(const ExtremesTask* tasks, std::int64_t num_tasks, const Times& times, TimeExtremes* extremes, cudaStream_t stream) {
  const ExtremesParameters parameters{tasks, num_tasks, times.queries.data(), times.keys.data(), extremes};
  launch_rows(find_extremes, num_tasks, stream, parameters);
}

void launch_finish(const ForwardOperands& operands, cudaStream_t stream) {
  if (operands.o.type == ElementType::kFloat64) {
    finish_in<double>(operands, stream);
  } else {
    finish_in<float>(operands, stream);
  }
}

void launch_dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o, cudaStream_t stream) {
  const std::int64_t num_rows = o.batch * o.heads * o.rows;
  visit_element_type(d_o.type, [&]<class Stored>(Stored) {
    using Real = std::conditional_t<std::is_same_v<Stored, double>, double, float>;
    const DotParameters<Stored, Real> parameters{reinterpret_cast<const Stored*>(d_o.data), reinterpret_cast<const Real*>(o.data),
                                                 reinterpret_cast<Real*>(delta.data), num_rows, o.columns};
    launch_rows(dot_rows<Stored, Real>, num_rows, stream, parameters);
  });
}

}  // namespace hilbertring

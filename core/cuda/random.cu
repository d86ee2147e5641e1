#include <algorithm>

#include "core/cuda/launch.cuh"
#include "core/cuda/store.cuh"
#include "core/random_math.h"

namespace hilbertring {

namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kMaxBlocks = 1 << 16;

template <class T>
struct RandomParameters {
  T* data;
  std::int64_t num_pairs;  ///< of neighbouring elements; rows have even lengths
  std::int64_t heads, rows, columns;
  const std::int64_t* tokens;  ///< [rows]
  std::int64_t num_tokens;     ///< of the whole tensor
  std::uint64_t seed;
  std::uint32_t tensor;
};

struct RoundedRoot {
  __device__ double operator()(double x) const { return __dsqrt_rn(x); }
};

/// Two neighbours a thread. Built without fused operations, which would give other bits than the host's.
template <class T>
__global__ void fill_random_elements(const __grid_constant__ RandomParameters<T> p) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t pair = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; pair < p.num_pairs; pair += step) {
    const std::int64_t element = 2 * pair;
    const std::int64_t row = element / p.columns;
    const std::int64_t head = row / p.rows % p.heads;
    const std::int64_t batch = row / p.rows / p.heads;
    const std::int64_t token = batch * p.num_tokens + p.tokens[row % p.rows];
    const std::int64_t index = (token * p.heads + head) * p.columns + element % p.columns;
    const auto words = random_math::normal_block(p.seed, p.tensor, static_cast<std::uint64_t>(index) / 2);
    store(p.data + element, random_math::normal_of(words, false, RoundedRoot{}));
    store(p.data + element + 1, random_math::normal_of(words, true, RoundedRoot{}));
  }
}

}  // namespace

void launch_fill_random(const Tensor& tensor, const RandomRows& rows, cudaStream_t stream) {
  visit_element_type(tensor.type, [&]<class T>(T) {
    const std::int64_t num_pairs = tensor.batch * tensor.heads * tensor.rows * tensor.columns / 2;
    const RandomParameters<T> parameters{.data = reinterpret_cast<T*>(tensor.data),
                                         .num_pairs = num_pairs,
                                         .heads = tensor.heads,
                                         .rows = tensor.rows,
                                         .columns = tensor.columns,
                                         .tokens = rows.tokens.data(),
                                         .num_tokens = rows.num_tokens,
                                         .seed = rows.seed,
                                         .tensor = static_cast<std::uint32_t>(rows.id)};
    launch_checked(fill_random_elements<T>, std::min(ceil_div(num_pairs, std::int64_t{kThreads}), kMaxBlocks), kThreads, 0, stream, parameters);
  });
}

}  // namespace hilbertring

#include "core/cuda/cuda_attention.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/device.h"
#include "core/cuda/kernels.h"
#include "core/cuda/resident_lists.h"
#include "core/error.h"
#include "core/operand_checks.h"

namespace hilbertring {

namespace {

/// Rows are copied 16 bytes at a time.
constexpr std::uintptr_t kTensorAlignment = 16;

void check_alignment(const std::string& name, const ConstTensor& tensor) {
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data);
  if (address % kTensorAlignment == 0) return;
  throw usage_error("tensor " + name + " begins " + std::to_string(address % kTensorAlignment) +
                    " bytes behind a multiple of 16, but the GPU's kernels need it at one");
}

class CudaAttention final : public BlockAttention {
 public:
  CudaAttention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter)
      : stream_(stream),
        counter_(make_device_buffer(static_cast<std::int64_t>(sizeof(unsigned long long)), meter)),
        lists_(stream, std::move(meter)) {
    check(cudaMemsetAsync(counter_.data(), 0, sizeof(unsigned long long), stream_));
  }

  std::string description() const override { return cuda_device_description(); }

  std::int64_t forward(const Pattern& pattern, const ForwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_forward(pattern, operands, pairs);
    for (const auto& [name, tensor] :
         {std::pair<const char*, ConstTensor>{"q", operands.q}, {"k", operands.k}, {"v", operands.v}, {"o", operands.o}}) {
      check_alignment(name, tensor);
    }
    const ResidentList& list = lists_.get({pattern, pairs, Owner::kQueries, forward_tile_rows(operands.q.type, operands.q.columns)});
    auto* const counter = pattern.causal() == Causal::kSequence ? reinterpret_cast<unsigned long long*>(counter_.data()) : nullptr;
    visit_element_type(operands.q.type, [&]<class Stored>(Stored) {
      run(list, pattern.causal(), operands.times, [&](const Launch& launch) { launch_forward<Stored>(launch, operands, counter); });
    });
    return list.num_allowed_pairs;
  }

  std::int64_t take_uncounted_pairs() override {
    unsigned long long num_pairs = 0;
    check(cudaMemcpyAsync(&num_pairs, counter_.data(), sizeof num_pairs, cudaMemcpyDeviceToHost, stream_));
    check(cudaMemsetAsync(counter_.data(), 0, sizeof num_pairs, stream_));
    check(cudaStreamSynchronize(stream_));
    return static_cast<std::int64_t>(num_pairs);
  }

  void finish_forward(const ForwardOperands& operands) override {
    check_state(operands);
    launch_finish(operands, stream_);
  }

  void dot_rows(const Tensor& delta, const ConstTensor& d_o, const ConstTensor& o) override {
    check_dot_rows(delta, d_o, o);
    launch_dot_rows(delta, d_o, o, stream_);
  }

  void backward(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs) override {
    check_backward(pattern, operands, pairs);
    for (const auto& [name, tensor] : {std::pair<const char*, ConstTensor>{"q", operands.q},
                                       {"d_o", operands.d_o},
                                       {"k", operands.k},
                                       {"v", operands.v},
                                       {"dq", operands.dq},
                                       {"dk", operands.dk},
                                       {"dv", operands.dv}}) {
      check_alignment(name, tensor);
    }
    visit_element_type(operands.q.type, [&]<class Stored>(Stored) {
      const TileRows rows = backward_tile_rows(operands.q.type, operands.q.columns);
      run(lists_.get({pattern, pairs, Owner::kQueries, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_query_gradient<Stored>(launch, operands); });
      run(lists_.get({pattern, pairs, Owner::kKeys, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_key_gradients<Stored>(launch, operands); });
    });
  }

 private:
  /// Calls launch(Launch) for each of the list's launches.
  template <class LaunchOne>
  void run(const ResidentList& list, Causal causal, const Times& times, LaunchOne&& launch_one) {
    if (list.num_extremes > 0) launch_extremes(list.extremes_tasks, list.num_extremes, times, list.extremes, stream_);
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < list.launch_ends.size(); ++i) {
      launch_one(Launch{.tiles = list.tiles + begin,
                        .num_tiles = list.launch_ends[i] - begin,
                        .own_runs = list.own_runs,
                        .meetings = list.meetings,
                        .extremes = list.extremes,
                        .mask_words = list.mask_words,
                        .strides = list.strides,
                        .num_claimed = list.num_claimed + i,
                        .causal = causal,
                        .stream = stream_});
      begin = list.launch_ends[i];
    }
  }

  cudaStream_t stream_;
  Buffer counter_;
  ResidentLists lists_;
};

}  // namespace

std::unique_ptr<BlockAttention> make_cuda_attention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter) {
  return std::make_unique<CudaAttention>(stream, std::move(meter));
}

}  // namespace hilbertring

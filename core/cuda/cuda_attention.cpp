#include "core/cuda/cuda_attention.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/cuda/backward_panels.h"
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
  CudaAttention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter, std::int64_t score_gradient_bytes)
      : stream_(stream),
        meter_(meter),
        score_gradient_bytes_(score_gradient_bytes),
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
      if (backward_keeping<Stored>(pattern, operands, pairs, rows)) return;
      run(lists_.get({pattern, pairs, Owner::kQueries, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_query_gradient<Stored>(launch, operands); });
      run(lists_.get({pattern, pairs, Owner::kKeys, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_key_gradients<Stored>(launch, operands); });
    });
  }

 private:
  /// Panel by panel, score gradients computed once. Returns false, and does nothing, where they can't be kept.
  template <class Stored>
  bool backward_keeping(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs, const TileRows& rows) {
    if (!has_score_gradients(operands.q.type, operands.q.columns)) return false;
    const std::vector<BackwardPanel> panels = backward_panels(pattern, pairs, rows.own, score_gradient_bytes_);
    if (panels.empty()) return false;
    if (score_gradients_.size_bytes() == 0) score_gradients_ = make_device_buffer(score_gradient_bytes_, meter_);
    for (const BackwardPanel& panel : panels) {
      const ResidentList& of_keys = lists_.get({pattern, panel.pairs, Owner::kKeys, rows});
      const ResidentList& of_queries = lists_.get({pattern, panel.pairs, Owner::kQueries, rows});
      const std::int64_t group = operands.q.heads / operands.k.heads;
      const std::int64_t num_planes = operands.k.batch * operands.k.heads;
      for (std::int64_t plane = 0; plane < num_planes; plane += panel.kv_planes_at_a_time) {
        const std::int64_t end = std::min(plane + panel.kv_planes_at_a_time, num_planes);
        ScoreGradients place = panel.place;
        place.blocks = score_gradients_.data();
        place.first_plane = static_cast<std::int32_t>(plane * group);
        launch_key_gradients<Stored>(part_of(of_keys, pattern.causal(), {plane, end}, num_planes, place), operands);
        launch_query_gradient<Stored>(part_of(of_queries, pattern.causal(), {plane, end}, num_planes, place), operands);
      }
    }
    return true;
  }

  /// The launch of a list that has one, as far as some of the planes go. Lists have their tiles plane after plane.
  Launch part_of(const ResidentList& list, Causal causal, std::pair<std::int64_t, std::int64_t> planes, std::int64_t num_planes,
                 const ScoreGradients& place) const {
    const std::int64_t tiles_of_plane = list.launch_ends.empty() ? 0 : list.launch_ends.front() / num_planes;
    Launch launch = launch_of(list, causal);
    launch.tiles = list.tiles + planes.first * tiles_of_plane;
    launch.num_tiles = (planes.second - planes.first) * tiles_of_plane;
    launch.score_gradients = place;
    return launch;
  }

  /// Calls launch(Launch) for each of the list's launches.
  template <class LaunchOne>
  void run(const ResidentList& list, Causal causal, const Times& times, LaunchOne&& launch_one) {
    if (list.num_extremes > 0) launch_extremes(list.extremes_tasks, list.num_extremes, times, list.extremes, stream_);
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < list.launch_ends.size(); ++i) {
      Launch launch = launch_of(list, causal);
      launch.tiles = list.tiles + begin;
      launch.num_tiles = list.launch_ends[i] - begin;
      launch.num_claimed = list.num_claimed + i;
      launch_one(launch);
      begin = list.launch_ends[i];
    }
  }

  /// Without tiles yet.
  Launch launch_of(const ResidentList& list, Causal causal) const {
    return {.tiles = list.tiles,
            .num_tiles = 0,
            .own_runs = list.own_runs,
            .meetings = list.meetings,
            .extremes = list.extremes,
            .mask_words = list.mask_words,
            .strides = list.strides,
            .num_claimed = list.num_claimed,
            .causal = causal,
            .score_gradients = {},
            .stream = stream_};
  }

  cudaStream_t stream_;
  std::shared_ptr<MemoryMeter> meter_;
  std::int64_t score_gradient_bytes_;
  Buffer counter_;
  Buffer score_gradients_;
  ResidentLists lists_;
};

}  // namespace

std::unique_ptr<BlockAttention> make_cuda_attention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter, std::int64_t score_gradient_bytes) {
  return std::make_unique<CudaAttention>(stream, std::move(meter), score_gradient_bytes);
}

}  // namespace hilbertring

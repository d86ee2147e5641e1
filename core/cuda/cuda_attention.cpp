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
/// Tiles of heads that go together (`TileRows::tiles_at_once`): several for each multiprocessor, and few enough for a head's rows to stay in the
/// second-level cache.
constexpr std::int64_t kTilesAtOnce = 512;

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
    TileRows rows = forward_tile_rows(operands.q.type, operands.q.columns);
    rows.tiles_at_once = kTilesAtOnce;
    const ResidentList& list = lists_.get({pattern, pairs, Owner::kQueries, rows});
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
      TileRows rows = backward_tile_rows(operands.q.type, operands.q.columns);
      if (backward_in_rounds(pattern, operands, pairs, rows)) return;
      rows.tiles_at_once = kTilesAtOnce;
      run(lists_.get({pattern, pairs, Owner::kQueries, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_query_gradient<Stored>(launch, operands); });
      run(lists_.get({pattern, pairs, Owner::kKeys, rows}), pattern.causal(), operands.times,
          [&](const Launch& launch) { launch_key_gradients<Stored>(launch, operands); });
    });
  }

  bool give_back_memory() override {
    const bool has_any = score_gradients_.size_bytes() > 0;
    score_gradients_ = Buffer();
    return has_any;
  }

 private:
  /// Panel by panel, score gradients computed once. Returns false, and does nothing, where they can't be kept.
  bool backward_in_rounds(const Pattern& pattern, const BackwardOperands& operands, std::span<const ChunkPair> pairs, const TileRows& rows) {
    if (!has_backward_rounds(operands.q.type, operands.q.columns)) return false;
    std::vector<BackwardPanel> panels = backward_panels(pattern, pairs, rows.own, score_gradient_bytes_);
    if (panels.empty()) return false;
    if (!reserve_for(panels)) return false;
    for (BackwardPanel& panel : panels) {
      const ResidentList& keys = lists_.get({pattern, panel.pairs, Owner::kKeys, rows});
      const ResidentList& queries = lists_.get({pattern, panel.pairs, Owner::kQueries, rows});
      ScoreGradientRounds& rounds = panel.rounds;
      rounds.slots = score_gradients_.data();
      rounds.counters = reinterpret_cast<std::int32_t*>(round_counters_.data());
      rounds.key_tiles_in_round = static_cast<std::int32_t>(keys.launch_ends.front() / rounds.num_rounds);
      rounds.query_tiles_in_round = static_cast<std::int32_t>(queries.launch_ends.front() / rounds.num_rounds);
      check(cudaMemsetAsync(rounds.counters, 0, static_cast<std::size_t>(ScoreGradientRounds::num_counters(rounds.num_rounds)) * sizeof(std::int32_t),
                            stream_));
      launch_backward_in_rounds(launch_of(keys, pattern.causal()), launch_of(queries, pattern.causal()), rounds, operands);
    }
    return true;
  }

  /// False where the memory can't be had: it only saves time.
  bool reserve_for(const std::vector<BackwardPanel>& panels) {
    std::int64_t slot_bytes = 0, num_rounds = 0;
    for (const BackwardPanel& panel : panels) {
      slot_bytes = std::max(slot_bytes, std::int64_t{panel.rounds.blocks_in_slot()} * kScoreBlockBytes);
      num_rounds = std::max<std::int64_t>(num_rounds, panel.rounds.num_rounds);
    }
    try {
      reserve(score_gradients_, ScoreGradientRounds::kSlots * slot_bytes);
      reserve(round_counters_, ScoreGradientRounds::num_counters(num_rounds) * static_cast<std::int64_t>(sizeof(std::int32_t)));
    } catch (const Error&) {
      give_back_memory();
      return false;
    }
    return true;
  }
  void reserve(Buffer& buffer, std::int64_t num_bytes) const {
    if (buffer.size_bytes() >= num_bytes) return;
    buffer = Buffer();
    buffer = make_device_buffer(num_bytes, meter_);
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
            .stream = stream_};
  }

  cudaStream_t stream_;
  std::shared_ptr<MemoryMeter> meter_;
  std::int64_t score_gradient_bytes_;
  Buffer counter_;
  Buffer score_gradients_, round_counters_;
  ResidentLists lists_;
};

}  // namespace

std::unique_ptr<BlockAttention> make_cuda_attention(cudaStream_t stream, std::shared_ptr<MemoryMeter> meter, std::int64_t score_gradient_bytes) {
  return std::make_unique<CudaAttention>(stream, std::move(meter), score_gradient_bytes);
}

}  // namespace hilbertring

#include "drivers/run_ranks.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <utility>

#include "core/buffer.h"
#include "drivers/machine.h"
#include "drivers/pass_totals.h"
#include "drivers/run_in_legs.h"
#include "drivers/slab.h"
#include "drivers/stopwatch.h"
#include "io/finite.h"
#include "ring/agreement.h"
#include "ring/redistribution.h"

namespace hilbertring {

namespace {

/// One rank of a run, with its part of the files.
class RankRun {
 public:
  RankRun(Transport& transport, const RankTask& task)
      : transport_(transport), task_(task), problem_(task.schedule->problem()), attention_(transport, task.schedule, task.options) {}

  RunTotals execute() {
    load_inputs();
    if (task_.checkpoints != nullptr) {
      run_in_legs();
    } else {
      run_whole();
    }
    return finished_totals();
  }

 private:
  void run_whole() {
    totals_.forward = totals_of(Pass::kForward, attention_.forward());
    store_forward();
    if (!problem_.with_gradient) return;
    totals_.backward = totals_of(Pass::kBackward, attention_.backward());
    store_backward();
  }

  void run_in_legs() {
    RunInLegs legs(transport_, task_, attention_, totals_);
    const RunPlace place = legs.begin();
    if (place.pass == Pass::kForward) legs.run(Pass::kForward, place.lag);
    store_forward();
    if (!problem_.with_gradient) return;
    legs.run(Pass::kBackward, place.pass == Pass::kBackward ? place.lag : 0);
    store_backward();
  }

  PassTotals totals_of(Pass pass, const PassReport& report) const {
    require_predicted_bytes(transport_, pass, report);
    return over_all_ranks(transport_, report);
  }

  void store_forward() {
    store(TensorName::kO, task_.output_type);
    store(TensorName::kLse, ElementType::kFloat32);
  }
  void store_backward() {
    for (const TensorName name : {TensorName::kDq, TensorName::kDk, TensorName::kDv}) store(name, task_.output_type);
    totals_.backward.allowed_pairs = totals_.forward.allowed_pairs;  // the same pairs are folded again
  }

  void load_inputs() {
    const Stopwatch stopwatch;
    for (const TensorName name : input_names(problem_.with_gradient)) load(name);
    totals_.read_seconds = stopwatch.seconds();
  }

  /// Piece by piece: no rank holds a whole slab.
  void load(TensorName name) {
    attention_.load_in_pieces(shard_tensor(name), [&](Range<SequenceIndex> tokens, std::span<std::byte> piece) {
      task_.input->read(name, tokens, piece);
      agree(transport_, [&] {
        if (!task_.allows_nonfinite) check_finite(*task_.input, name, tokens, piece);
      });
    });
  }

  void store(TensorName name, ElementType type) {
    const Stopwatch stopwatch;
    store_tensor(attention_, name, type, *task_.output);
    totals_.write_seconds += stopwatch.seconds();
  }

  RunTotals finished_totals() {
    std::array<double, 2> times = {totals_.read_seconds, totals_.write_seconds};
    const RankMemory& predicted = attention_.predicted_memory();
    std::array<std::int64_t, 6> bytes = {
        attention_.memory().peak_bytes(), predicted.host.peak_in_pieces_bytes(), peak_resident_bytes(), attention_.gpu_memory().peak_bytes(),
        predicted.gpu.peak_bytes(),       attention_.gpu_scratch().peak_bytes()};
    transport_.all_reduce(std::span<double>(times), Reduction::kMax);
    transport_.all_reduce(std::span<std::int64_t>(bytes), Reduction::kMax);
    totals_.read_seconds = times[0];
    totals_.write_seconds = times[1];
    totals_.peak_bytes = bytes[0];
    totals_.predicted_peak_bytes = bytes[1];
    totals_.resident_bytes = bytes[2];
    totals_.gpu_peak_bytes = bytes[3];
    totals_.predicted_gpu_peak_bytes = bytes[4];
    totals_.gpu_scratch_bytes = bytes[5];
    totals_.weights_type = attention_.weights_type();
    totals_.device = transport_.all_gather(attention_.device()).front();
    return totals_;
  }

  Transport& transport_;
  const RankTask& task_;
  const Problem& problem_;
  RingAttention attention_;
  RunTotals totals_;
};

}  // namespace

std::int64_t peak_with_slab(const MemoryPrediction& prediction, const Schedule& schedule, Rank rank, ElementType output_type) {
  const Shape& shape = schedule.problem().shape;
  const std::int64_t num_tokens = sequence_slab(shape.tokens, schedule.num_ranks(), rank).size();
  const std::int64_t slab =
      std::max(slab_bytes(TensorName::kQ, shape, schedule.problem().type, num_tokens), slab_bytes(TensorName::kO, shape, output_type, num_tokens));
  const std::int64_t while_loading =
      prediction.shard_bytes + prediction.redistribution_bytes + prediction.load_bytes + slab + prediction.scratch_bytes;
  return std::max(prediction.total_bytes(), while_loading);
}

RunTotals run_rank(Transport& transport, const RankTask& task) { return RankRun(transport, task).execute(); }

}  // namespace hilbertring

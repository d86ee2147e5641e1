#include "drivers/bench_ranks.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <sstream>
#include <utility>

#include "core/buffer.h"
#include "drivers/pass_totals.h"
#include "drivers/run_ranks.h"
#include "drivers/slab.h"
#include "drivers/units.h"
#include "ring/agreement.h"
#include "ring/redistribution.h"

namespace hilbertring {

namespace {

/// One way to go through the passes, and where its times go.
struct TimedWay {
  PassMode mode;
  std::vector<double> PassTimes::*times;
};
constexpr TimedWay kTransfersWay = {PassMode::kTransfersAlone, &PassTimes::transfers};
constexpr std::array<TimedWay, 3> kWays = {{{PassMode::kWhole, &PassTimes::ring}, {PassMode::kComputeAlone, &PassTimes::compute}, kTransfersWay}};

/// One rank's part in a benchmark.
class RankBench {
 public:
  RankBench(Transport& transport, const BenchTask& task)
      : transport_(transport),
        task_(task),
        problem_(task.schedule->problem()),
        inputs_{problem_.shape, problem_.type, task.seed},
        tokens_(sequence_slab(problem_.shape.tokens, transport.num_ranks(), transport.rank())) {}

  BenchFigures execute() {
    RingAttention attention(transport_, task_.schedule, task_.options);
    for (const TensorName name : input_names(problem_.with_gradient)) attention.load_random(shard_tensor(name), task_.seed);
    figures_.allowed_pairs = over_ranks(run_pass(attention, Pass::kForward, PassMode::kWhole).allowed_pairs, Reduction::kSum);
    if (problem_.with_gradient) run_pass(attention, Pass::kBackward, PassMode::kWhole);
    check_rows(attention);
    gather_complaints();
    if (figures_.complaints.empty()) time_rounds(attention);
    if (figures_.complaints.empty()) note_sizes(attention);
    return std::move(figures_);
  }

 private:
  void note_sizes(const RingAttention& attention) {
    figures_.forward.sent_bytes = over_ranks(task_.schedule->sent_bytes(Pass::kForward, transport_.rank()), Reduction::kSum);
    if (problem_.with_gradient) {
      figures_.backward.sent_bytes = over_ranks(task_.schedule->sent_bytes(Pass::kBackward, transport_.rank()), Reduction::kSum);
    }
    const bool is_on_gpu = task_.options.backend == Backend::kCuda;
    const RankMemory& predicted = attention.predicted_memory();
    figures_.peak_bytes = over_ranks((is_on_gpu ? attention.gpu_memory() : attention.memory()).peak_bytes(), Reduction::kMax);
    figures_.predicted_peak_bytes = over_ranks((is_on_gpu ? predicted.gpu : predicted.host).peak_bytes(), Reduction::kMax);
    figures_.device = transport_.all_gather(attention.device()).front();
  }

  PassReport run_pass(RingAttention& attention, Pass pass, PassMode mode) {
    transport_.barrier();
    const PassReport report = pass == Pass::kForward ? attention.forward(mode) : attention.backward(mode);
    if (report.sent_bytes == report.predicted_bytes) return report;
    complain(std::string(name_of(pass)) + " sent " + format_count(report.sent_bytes) + " bytes, but the schedule predicted " +
             format_count(report.predicted_bytes));
    return report;
  }

  void check_rows(RingAttention& attention) {
    std::optional<SampledRowCheck> check;
    const RowSample sample{.num_rows = task_.num_checked_rows, .seed = task_.seed};
    agree(transport_, [&] {
      check.emplace(transport_, *task_.schedule, inputs_, task_.output_type, attention.weights_type(), sample, task_.options.num_threads);
    });
    for (const TensorName name : result_names(problem_.with_gradient)) {
      const ElementType type = name == TensorName::kLse ? ElementType::kFloat32 : task_.output_type;
      const Buffer slab = make_slab(transport_, name, problem_.shape, type, tokens_.size());
      attention.store(shard_tensor(name), type, slab.bytes());
      check->take(name, slab.bytes());
    }
    for (const TensorErrors& compared : check->compare()) judge(compared);
  }

  /// A rank without a sampled row has nothing to say, but some rank must have one.
  void judge(const TensorErrors& compared) {
    const Errors& errors = compared.errors;
    const bool has_rows = over_ranks(errors.num_elements(), Reduction::kSum) > 0;
    if (!has_rows && transport_.rank() == Rank(0)) complain("no row of " + std::string(to_string(compared.name)) + " was checked");
    figures_.checked.push_back({compared.name, over_ranks(errors.worst_fraction(), Reduction::kMax)});
    if (errors.num_elements() == 0 || errors.passes()) return;
    complain(std::string(to_string(compared.name)) + " is wrong: error " + format_number(errors.worst_fraction()) + " times its bound at " +
             worst_element_text(compared));
  }

  void complain(const std::string& text) { own_complaints_ += "rank " + std::to_string(transport_.rank().value) + ": " + text + "\n"; }

  void gather_complaints() {
    for (const std::string& text : transport_.all_gather(own_complaints_)) {
      std::istringstream lines(text);
      for (std::string line; std::getline(lines, line);) figures_.complaints.push_back(line);
    }
    own_complaints_.clear();
  }

  /// A round goes every way once, so that what changes slowly (clocks, load) is the same for all ways.
  void time_rounds(RingAttention& attention) {
    const std::int64_t num_rounds = task_.num_warmups + task_.num_repeats;
    for (std::int64_t round = 0; round < num_rounds; ++round) {
      for (const TimedWay& way : kWays) {
        const bool is_warm = round >= task_.num_warmups;
        time_pass(attention, Pass::kForward, way, is_warm);
        if (problem_.with_gradient) time_pass(attention, Pass::kBackward, way, is_warm);
      }
      if (task_.progress) task_.progress(round + 1, num_rounds);
    }
    for (std::int64_t i = 0; i < task_.num_more_transfers; ++i) time_pass(attention, Pass::kForward, kTransfersWay, true);
    gather_complaints();
  }

  void time_pass(RingAttention& attention, Pass pass, const TimedWay& way, bool is_warm) {
    const PassReport report = run_pass(attention, pass, way.mode);
    const double seconds = slowest(report.seconds), waiting = slowest(report.waiting_seconds), step = slowest(report.step_seconds);
    const double mean = over_ranks(report.seconds, Reduction::kSum) / static_cast<double>(transport_.num_ranks());
    if (!is_warm) return;
    PassTimes& times = figures_.of(pass).times;
    (times.*way.times).push_back(seconds);
    if (way.mode == PassMode::kComputeAlone) times.mean_compute.push_back(mean);
    if (way.mode != PassMode::kWhole) return;
    times.waiting.push_back(waiting);
    times.step.push_back(step);
  }

  double slowest(double seconds) const { return over_ranks(seconds, Reduction::kMax); }

  template <class Value>
  Value over_ranks(Value value, Reduction reduction) const {
    transport_.all_reduce(std::span(&value, 1), reduction);
    return value;
  }

  Transport& transport_;
  const BenchTask& task_;
  const Problem& problem_;
  RandomInputs inputs_;
  Range<SequenceIndex> tokens_;
  std::string own_complaints_;
  BenchFigures figures_;
};

}  // namespace

BenchFigures bench_rank(Transport& transport, const BenchTask& task) { return RankBench(transport, task).execute(); }

std::int64_t predicted_bench_bytes(const BenchTask& task, MessagePath path, Rank rank) {
  const Schedule& schedule = *task.schedule;
  const MemoryPrediction memory = predict_memory(schedule, rank, path, task.options.num_threads, task.output_type).host;
  const std::int64_t of_check = SampledRowCheck::predicted_bytes(schedule.problem(), task.num_checked_rows, schedule.num_ranks());
  return peak_with_slab(memory, schedule, rank, task.output_type) + of_check;
}

}  // namespace hilbertring

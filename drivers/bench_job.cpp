#include "drivers/bench_job.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "drivers/progress_bar.h"
#include "drivers/units.h"
#include "ring/loopback.h"

namespace hilbertring {

namespace {

/// The largest of all ranks.
template <class OfRank>
std::int64_t largest(const Job& job, const RankLayout& layout, OfRank&& of_rank) {
  if (layout.virtual_ranks() == 0) return job.max(of_rank(Rank(job.rank())));
  std::int64_t most = 0;
  for (Rank rank(0); rank < Rank(layout.num_ranks); ++rank) most = std::max<std::int64_t>(most, of_rank(rank));
  return most;
}

}  // namespace

BenchTask bench_task(const Job& job, const RankLayout& layout, const Problem& problem, std::int64_t num_ranks) {
  BenchTask task;
  problem.validate(num_ranks);
  task.schedule = std::make_shared<const Schedule>(problem, make_orders(problem.specification, problem.shape.tokens), num_ranks);
  task.output_type = problem.type;
  task.options.backend = layout.backend.backend;
  task.options.gpu = layout.backend.gpu_of(job.rank_on_node());
  task.options.num_threads = layout.num_threads;
  task.options.output_type = task.output_type;
  return task;
}

void require_bench_memory(const Job& job, const RankLayout& layout, const BenchTask& task) {
  const auto gpu_bytes = [&](Rank rank) {
    return predict_memory(*task.schedule, rank, layout.path(), layout.num_threads, task.output_type).gpu.peak_bytes();
  };
  require_gpu_memory(job, layout.backend, layout.virtual_ranks(), largest(job, layout, gpu_bytes));
  const std::int64_t needed = largest(job, layout, [&](Rank rank) { return predicted_bench_bytes(task, layout.path(), rank); });
  if (needed <= layout.memory_limit_bytes) return;
  throw failure("not enough memory: with " + format_plural(task.schedule->problem().shape.tokens, "token") + " a rank needs " + format_bytes(needed) +
                ", " + layout.memory_limit_text());
}

BenchFigures run_bench(const Job& job, const RankLayout& layout, const BenchTask& task, Transport* transport, const std::string& label) {
  ProgressBar progress(label, job.is_first());
  BenchTask shown = task;
  shown.progress = [&progress](std::int64_t done, std::int64_t total) { progress.update(done, total); };
  BenchFigures figures;
  if (transport != nullptr) {
    job.together([&] { figures = bench_rank(*transport, shown); });
    return figures;
  }
  run_loopback(layout.num_ranks, [&](Transport& loopback) {
    BenchTask of_rank = loopback.rank() == Rank(0) ? shown : task;
    of_rank.options.gpu = layout.backend.gpu_of(loopback.rank().value);
    BenchFigures own = bench_rank(loopback, of_rank);
    if (loopback.rank() == Rank(0)) figures = std::move(own);
  });
  return figures;
}

}  // namespace hilbertring

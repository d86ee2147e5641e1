#pragma once

#include <string>

#include "drivers/bench_ranks.h"
#include "drivers/job.h"
#include "drivers/transport_choice.h"

namespace hilbertring {

/// Measures a problem on so many ranks of the layout, results of the problem's type. Throws usage_error for a problem that they can't share.
BenchTask bench_task(const Job& job, const RankLayout& layout, const Problem& problem, std::int64_t num_ranks);
/// Throws Error(kFailure) with both figures if a rank has not the memory, on the host or on its GPU. Collective over the job.
void require_bench_memory(const Job& job, const RankLayout& layout, const BenchTask& task);
/// Measures a problem on the ranks of the layout, with a progress bar of that label. `transport` is null where the ranks are virtual, else over some
/// or all ranks of the job. Collective over the job.
BenchFigures run_bench(const Job& job, const RankLayout& layout, const BenchTask& task, Transport* transport, const std::string& label);

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "drivers/job.h"
#include "drivers/options.h"
#include "drivers/plan_memory.h"
#include "ring/backend.h"
#include "ring/schedule.h"

namespace hilbertring {

/// What a plan is about: a problem that options describe, or a case file with the options that `run` would be given.
struct PlanSubject {
  std::string title;  ///< the case's path, or ""
  Problem problem;
  Orders orders;
  PlannedLayout layout;

  Backend backend() const { return layout.path == MessagePath::kHost ? Backend::kCpu : Backend::kCuda; }
};

/// Options of `run` that plan has not besides: with --check a job script may give the words that it will give to `run`.
OptionGroup options_of_run(const std::vector<OptionGroup>& own);

/// Reads the case, if there is one; notes on the pattern go to `notes`. `otherwise`: the backend where options name none. Throws usage_error and
/// Error(kInput) for what `run` would refuse, besides for GPUs (--gpus) that are not the ranks' one each, and for options that can't stand beside a
/// case.
PlanSubject plan_subject(const Job& job, const Arguments& arguments, std::int64_t num_ranks, Backend otherwise, std::ostream& notes);

}  // namespace hilbertring

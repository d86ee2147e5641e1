#include "drivers/plan_subject.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "drivers/backend_choice.h"
#include "drivers/case_problem.h"
#include "drivers/checkpoint.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/pattern_options.h"
#include "drivers/rotation_option.h"
#include "drivers/units.h"

namespace hilbertring {

namespace {

bool holds(const std::vector<OptionGroup>& groups, const std::string& name) {
  return std::ranges::any_of(groups, [&](const OptionGroup& group) {
    return std::ranges::any_of(group.entries, [&](const OptionEntry& entry) { return entry.name == name; });
  });
}

/// A case says itself what these say.
void refuse_beside_case(const Arguments& arguments) {
  std::vector<std::string> names = {"type", "gradient"};
  for (const OptionEntry& entry : shape_options().entries) names.push_back(entry.name);
  for (const std::string& name : names) {
    if (arguments.has(name)) throw usage_error("--" + name + " is given, but " + arguments.operand(0) + " says that itself");
  }
}

/// GPUs of a job that is planned are a rank's own each, and linked.
MessagePath path_of_backend(const Arguments& arguments, std::int64_t num_gpus, Backend otherwise) {
  const std::string name = backend_name(arguments);
  const bool is_on_gpus = name == "cuda" || (name == "auto" && (num_gpus > 0 || otherwise == Backend::kCuda));
  if (!is_on_gpus && arguments.has("check-gpu-memory")) throw usage_error("--check-gpu-memory needs --backend cuda");
  return is_on_gpus ? MessagePath::kLinked : MessagePath::kHost;
}

void require_gpu_for_each(const Arguments& arguments, std::int64_t num_ranks, std::int64_t num_gpus) {
  const bool is_any_number_right = num_gpus == 0 || num_gpus == num_ranks || arguments.has("share-gpus");
  if (is_any_number_right) return;
  throw usage_error(format_plural(num_ranks, "rank") + " and " + format_plural(num_gpus, "GPU") + ": each rank needs one GPU of its own");
}

Problem problem_of_options(const Arguments& arguments, std::ostream& notes) {
  Problem problem{.shape = shape_from(arguments),
                  .type = parse_element_type(arguments.text("type").value_or("float32")),
                  .specification = {},
                  .with_gradient = arguments.has("gradient"),
                  .backward_rotation = rotation_from(arguments)};
  problem.specification = pattern_from(arguments, problem.shape, "plan", notes);
  return problem;
}

}  // namespace

OptionGroup options_of_run(const std::vector<OptionGroup>& own) {
  OptionGroup others{"Options of run, taken with --check: passed over where they change nothing that is checked", {}};
  for (const OptionGroup& group : run_command().syntax.groups) {
    for (const OptionEntry& entry : group.entries) {
      if (!holds(own, entry.name)) others.entries.push_back(entry);
    }
  }
  return others;
}

PlanSubject plan_subject(const Job& job, const Arguments& arguments, std::int64_t num_ranks, Backend otherwise, std::ostream& notes) {
  PlanSubject subject;
  if (arguments.num_operands() == 0) {
    subject.problem = problem_of_options(arguments, notes);
    subject.problem.validate(num_ranks);
    subject.orders = make_orders(subject.problem.specification, subject.problem.shape.tokens);
  } else {
    refuse_beside_case(arguments);
    const auto file = CaseFile::open(arguments.operand(0), job.communicator());
    require_inputs(*file);
    subject.title = file->path();
    subject.problem = problem_of_case(*file, arguments, notes);
    subject.problem.validate(num_ranks);
    subject.orders = orders_of_case(*file, subject.problem.specification);
  }
  const std::int64_t num_gpus = arguments.integer_or("gpus", 0, 0);
  require_gpu_for_each(arguments, num_ranks, num_gpus);
  const auto output_type = arguments.text("output-type");
  subject.layout = {.path = path_of_backend(arguments, num_gpus, otherwise),
                    .num_threads = static_cast<int>(arguments.integer_or("threads", 1, 1)),
                    .output_type = output_type ? parse_element_type(*output_type) : subject.problem.type,
                    .in_legs = asks_for_checkpoints(arguments),
                    .is_assumed = num_gpus == 0 && arguments.text("backend").value_or("auto") == "auto"};
  return subject;
}

}  // namespace hilbertring

#include <algorithm>
#include <numeric>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/pattern_options.h"
#include "drivers/plan_memory.h"
#include "drivers/plan_subject.h"
#include "drivers/rotation_option.h"
#include "drivers/text_table.h"
#include "drivers/time_report.h"
#include "drivers/units.h"
#include "ring/fold_work.h"

namespace hilbertring {

namespace {

std::vector<OptionGroup> own_options() {
  const OptionGroup options{
      "Plan options",
      {{"ranks", "P", "ranks of the ring; else 1"},
       {"type", "TYPE", "of q, k, v: float16, bfloat16, float32 or float64; else float32"},
       {"gradient", "", "plan the backward pass too"},
       rotation_option(),
       {"threads", "T", "per rank; else as the rates were measured, or 1"},
       {"lines", "L", "at most so many steps in a table; else 12"},
       {"backend", "NAME",
        "auto, cpu or cuda (linked GPUs): whose memory is told; auto: cuda if --gpus are given, else as the rates were measured, or cpu"},
       {"gpus", "G", "GPUs of the job, which must be one for each rank; 0: none, or not known"},
       {"check", "", "say in one line whether run would refuse, with its exit status, and print no tables"},
       {"check-memory", "BYTES", "exit with status 4 if a rank needs more on the host, such as 16GiB"},
       {"check-gpu-memory", "BYTES", "likewise on its GPU, such as 80GiB; needs --backend cuda"}}};
  return {shape_options(), options, rates_options(), pattern_options()};
}

CommandSyntax syntax() {
  std::vector<OptionGroup> groups = own_options();
  groups.push_back(options_of_run(groups));
  return {"plan",
          "Tells what a run would send, hold, compute and (with --rates) take on each rank, without running it: of a case, or of a shape by options.",
          {"[CASE.h5]"},
          std::move(groups),
          "hilbertring plan --tokens 1000000000 --heads 8 --head-dim 128 --ranks 4096 --preset longnet --causal sequence"};
}

/// With --check a job script gives the words that it gives to `run`; without it they would seem to mean something.
void refuse_without_check(const Arguments& arguments) {
  if (arguments.has("check")) return;
  for (const OptionEntry& entry : options_of_run(own_options()).entries) {
    const bool is_of_case = entry.name == "no-gradient" && arguments.num_operands() > 0;
    if (arguments.has(entry.name) && !is_of_case) throw usage_error("--" + entry.name + " is an option of run, which plan takes with --check only");
  }
}

std::string work_text(const std::vector<double>& work) {
  const double total = std::accumulate(work.begin(), work.end(), 0.0);
  const double mean = total / static_cast<double>(work.size());
  const double most = *std::max_element(work.begin(), work.end());
  return format_number(total) + " allowed pairs; per rank " + format_number(mean) + " on average, " + format_number(most) +
         " at most; balance (most / average) " + format_number(mean > 0 ? most / mean : 1.0);
}

std::string problem_text(const Problem& problem) {
  return to_string(problem.shape) + " " + std::string(to_string(problem.type)) + (problem.with_gradient ? ", forward and backward" : ", forward");
}

/// Everything that is known before anything is printed.
struct Plan {
  std::optional<RatesFile> rates;
  PlanSubject subject;
  Schedule schedule;
  LargestRank largest;
  std::optional<std::vector<double>> work;  ///< allowed pairs of each rank, where they can be counted
  TimePredictions times;

  Plan(const Arguments& arguments, std::optional<RatesFile> measured, PlanSubject of, std::int64_t num_ranks)
      : rates(std::move(measured)),
        subject(std::move(of)),
        schedule(subject.problem, subject.orders, num_ranks),
        largest(largest_rank(schedule, subject.layout)),
        work(work_per_rank(schedule)) {
    if (!rates) return;
    require_rates_for(*rates, subject.problem, subject.backend(), subject.layout.num_threads, arguments);
    times = predict_times(schedule, rates->rates);
  }
};

Plan make_plan(const Job& job, const Arguments& arguments, std::ostream& notes) {
  const std::int64_t num_ranks = arguments.integer_or("ranks", 1, 1);
  std::optional<RatesFile> rates = rates_from(arguments);
  PlanSubject subject = plan_subject(job, arguments, num_ranks, rates ? rates->rates.backend : Backend::kCpu, notes);
  if (rates && !arguments.has("threads")) subject.layout.num_threads = rates->rates.num_threads;
  return {arguments, std::move(rates), std::move(subject), num_ranks};
}

void print_plan(std::ostream& out, const Plan& plan, std::int64_t num_lines) {
  const Schedule& schedule = plan.schedule;
  const Problem& problem = schedule.problem();
  TextTable table = name_value_table();
  table.add_row(plan.subject.title.empty() ? std::vector<std::string>{"shape", problem_text(problem)}
                                           : std::vector<std::string>{"case", plan.subject.title + ": " + problem_text(problem)});
  add_specification_rows(table, problem.specification, problem.shape);
  table.add_row({"ranks", format_count(schedule.num_ranks()) + ", at most " + format_count(schedule.placement().max_rows()) + " tokens each"});
  add_traffic_rows(table, schedule);
  add_memory_rows(table, schedule, plan.subject.layout, plan.largest);
  table.add_row({"work", plan.work ? work_text(*plan.work) : "not counted: sequence causality over so many tokens on a curve"});
  if (plan.rates) add_time_rows(table, schedule, *plan.rates, plan.times);
  out << table.to_text();
  if (schedule.num_ranks() == 1) return;
  out << "\n" << schedule.to_text(Pass::kForward, num_lines, plan.times.stage_seconds(Pass::kForward));
  if (problem.with_gradient) out << "\n" << schedule.to_text(Pass::kBackward, num_lines, plan.times.stage_seconds(Pass::kBackward));
}

/// `run` would write a result of zeros.
void require_some_pair(const Plan& plan) {
  if (!plan.work || std::ranges::any_of(*plan.work, [](double pairs) { return pairs > 0; })) return;
  throw usage_error("the pattern allows no query to attend to any key: " + describe_branches(plan.schedule.problem().specification));
}

std::string check_text(const Plan& plan) {
  std::string text = (plan.subject.title.empty() ? "" : plan.subject.title + ": ") + problem_text(plan.schedule.problem()) + ": good on " +
                     format_plural(plan.schedule.num_ranks(), "rank") + ", at most " + format_bytes(plan.largest.host_bytes) + " each";
  if (plan.subject.backend() == Backend::kCuda) text += " and " + format_bytes(plan.largest.gpu_bytes()) + " on its GPU";
  if (plan.times.forward) text += "; predicted " + format_seconds(plan.times.forward->seconds) + " forward";
  if (plan.times.backward) text += ", " + format_seconds(plan.times.backward->seconds) + " backward";
  return text + "\n";
}

int plan(Job& job, const Arguments& arguments) {
  job.require_one_rank("plan");
  refuse_without_check(arguments);
  const bool is_check = arguments.has("check");
  const std::int64_t num_lines = arguments.integer_or("lines", 12, 3);
  std::ostream nowhere(nullptr);
  const Plan plan = make_plan(job, arguments, is_check ? nowhere : job.out());
  if (!is_check) print_plan(job.out(), plan, num_lines);
  if (is_check) require_some_pair(plan);
  require_planned_memory(arguments, plan.subject.layout, plan.largest);
  if (is_check) job.out() << check_text(plan);
  return 0;
}

}  // namespace

Command plan_command() { return {syntax(), plan}; }

}  // namespace hilbertring

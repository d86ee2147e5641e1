#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "drivers/case_problem.h"
#include "drivers/checkpoint.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/pass_totals.h"
#include "drivers/pattern_options.h"
#include "drivers/progress_bar.h"
#include "drivers/rotation_option.h"
#include "drivers/run_in_legs.h"
#include "drivers/run_ranks.h"
#include "drivers/run_report.h"
#include "drivers/stop_signal.h"
#include "drivers/transport_choice.h"
#include "drivers/units.h"
#include "io/agreement.h"
#include "io/case_file.h"
#include "io/run_record.h"
#include "ring/loopback.h"

namespace hilbertring {

namespace {

constexpr double kMostMinutes = 1e6;

CommandSyntax syntax() {
  return {"run",
          "Computes a case: o and lse, and the gradients if the case has /do; on MPI ranks, or on virtual ranks of one process.",
          {"CASE.h5"},
          {{"Run options",
            {{"output", "RESULT.h5", "the result file", 'o'},
             {"output-type", "TYPE", "of o and the gradients; else the input's type (lse is float32)"},
             {"no-gradient", "", "forward only, though the case has /do"},
             rotation_option(),
             {"allow-nonfinite", "", "compute even if inputs hold NaN or infinity"},
             {"record", "FILE.json", "append a JSON record of the run, one line"},
             {"force", "", "replace RESULT.h5 if it exists"}}},
           {"Checkpoints (each of these options makes SIGTERM and SIGUSR1 save the state and end the run with status 5)",
            {{"checkpoint-every", "MINUTES", "save the state so often, such as 10 or 0.5"},
             {"checkpoint-dir", "DIR", "where RESULT.h5.checkpoint and the one before it are kept; else beside RESULT.h5"},
             {"resume", "", "go on from the newest whole checkpoint, if there is one"}}},
           layout_options(),
           pattern_options()},
          "mpirun -np 4 hilbertring run case.h5 -o result.h5"};
}

void refuse_existing(const std::string& path, bool may_replace) {
  std::error_code ignored;
  if (!may_replace && std::filesystem::exists(path, ignored)) throw usage_error("'" + path + "' exists; give --force to replace it");
}

/// Seconds from --checkpoint-every; 0 without it.
double seconds_between_checkpoints(const Arguments& arguments) {
  const auto text = arguments.text("checkpoint-every");
  if (!text) return 0;
  double minutes = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), minutes);
  if (error != std::errc() || end != text->data() + text->size() || !(minutes > 0) || !(minutes <= kMostMinutes)) {
    throw usage_error("--checkpoint-every is '" + *text + "', but must be minutes above 0, at most " + format_number(kMostMinutes));
  }
  return minutes * 60;
}

/// Where checkpoints lie: the result's path, in the directory for them.
std::string checkpoint_base(const Arguments& arguments) {
  namespace fs = std::filesystem;
  const fs::path result = arguments.required_text("output");
  const auto directory = arguments.text("checkpoint-dir");
  if (!directory) return result.string();
  std::error_code ignored;
  if (!fs::is_directory(*directory, ignored)) throw usage_error("--checkpoint-dir is '" + *directory + "', but that is no directory");
  return (fs::path(*directory) / result.filename()).string();
}

/// Everything that is settled before the first tensor is read.
struct RunPlan {
  RunSetting setting;
  RankLayout layout;
  RankTask task;
  std::int64_t predicted_bytes = 0;      ///< of the largest rank that this process knows of
  std::int64_t predicted_gpu_bytes = 0;  ///< likewise, on its GPU
};

/// Of the largest rank, on the host and on its GPU.
void predict_peaks(const Job& job, RunPlan& plan) {
  const Schedule& schedule = *plan.task.schedule;
  const auto note_rank = [&](Rank rank) {
    const RankMemory memory = predict_memory(schedule, rank, plan.layout.path(), plan.layout.num_threads, plan.task.output_type,
                                             plan.task.options.staging_bytes, plan.task.options.in_legs);
    plan.predicted_bytes = std::max(plan.predicted_bytes, memory.host.total_in_pieces_bytes());
    plan.predicted_gpu_bytes = std::max(plan.predicted_gpu_bytes, memory.gpu.peak_bytes());
  };
  if (plan.layout.virtual_ranks() == 0) {
    note_rank(Rank(job.rank()));
    plan.predicted_bytes = job.max(plan.predicted_bytes);
    plan.predicted_gpu_bytes = job.max(plan.predicted_gpu_bytes);
  } else {
    for (Rank rank(0); rank < Rank(schedule.num_ranks()); ++rank) note_rank(rank);
  }
}

void require_memory(const RunPlan& plan) {
  if (plan.predicted_bytes <= plan.layout.memory_limit_bytes) return;
  throw failure("not enough memory: a rank needs " + format_bytes(plan.predicted_bytes) + ", " + plan.layout.memory_limit_text() +
                " (more ranks on more nodes need less each)");
}

RunPlan make_plan(const Job& job, const Arguments& arguments, CaseFile& file) {
  RunPlan plan;
  plan.layout = choose_layout(job, arguments);
  const std::int64_t num_ranks = plan.layout.num_ranks;
  Problem problem = problem_of_case(file, arguments, job.out());
  problem.validate(num_ranks);
  // The result names its chunk, so that its bits can be had again from a program that chooses another.
  problem.specification.chunk = problem.specification.chunk_for(problem.shape);

  plan.setting = {.case_path = file.path(),
                  .result_path = arguments.required_text("output"),
                  .transport = to_string(plan.layout.transport),
                  .num_ranks = num_ranks,
                  .num_threads = plan.layout.num_threads};
  plan.task.output_type = arguments.has("output-type") ? parse_element_type(arguments.required_text("output-type")) : problem.type;
  plan.task.schedule = std::make_shared<const Schedule>(problem, orders_of_case(file, problem.specification), num_ranks);
  plan.task.allows_nonfinite = arguments.has("allow-nonfinite");
  plan.task.options.num_threads = plan.layout.num_threads;
  plan.task.options.backend = plan.layout.backend.backend;
  plan.task.options.gpu = plan.layout.backend.gpu_of(job.rank_on_node());
  plan.task.options.output_type = plan.task.output_type;
  plan.task.options.in_legs = asks_for_checkpoints(arguments);
  plan.task.input = &file;
  predict_peaks(job, plan);
  return plan;
}

void print_plan(std::ostream& out, const RunPlan& plan) {
  const Schedule& schedule = *plan.task.schedule;
  const Problem& problem = schedule.problem();
  TextTable table = name_value_table();
  table.add_row({"case", plan.setting.case_path + ": " + to_string(problem.shape) + " " + std::string(to_string(problem.type)) +
                             (problem.with_gradient ? ", forward and backward" : ", forward")});
  add_specification_rows(table, problem.specification, problem.shape);
  table.add_row({"ranks", format_count(plan.setting.num_ranks) + " (" + plan.setting.transport + "), " +
                              format_plural(plan.setting.num_threads, "thread") + " each, at most " + format_count(schedule.placement().max_rows()) +
                              " tokens each"});
  add_traffic_rows(table, schedule);
  const bool has_gpu = plan.layout.backend.backend == Backend::kCuda;
  table.add_row(
      {"backend", std::string(to_string(plan.layout.backend.backend)) + (plan.layout.backend.note.empty() ? "" : ": " + plan.layout.backend.note)});
  table.add_row({"memory", "at most " + format_bytes(plan.predicted_bytes) + " per rank" +
                               (has_gpu ? ", and " + format_bytes(plan.predicted_gpu_bytes) + " on its GPU" : "")});
  out << table.to_text() << std::flush;
}

FileLayout result_layout(const RunPlan& plan) {
  const Problem& problem = plan.task.schedule->problem();
  FileLayout layout{.shape = problem.shape, .specification = problem.specification, .datasets = {}};
  layout.datasets = {{TensorName::kO, plan.task.output_type}, {TensorName::kLse, ElementType::kFloat32}};
  if (problem.with_gradient) {
    for (const TensorName name : {TensorName::kDq, TensorName::kDk, TensorName::kDv}) layout.datasets.emplace_back(name, plan.task.output_type);
  }
  return layout;
}

/// The progress of rank 0 stands for all: they go through the ring in step.
void show_progress(RankTask& task, ProgressBar& progress) {
  task.options.progress = [&progress](Pass pass, std::int64_t done, std::int64_t total) {
    progress.relabel(pass == Pass::kForward ? "forward " : "backward");
    progress.update(done, total);
  };
}

RunTotals compute_on_loopback(const RunPlan& plan, ProgressBar& progress) {
  RunTotals totals;
  run_loopback(plan.setting.num_ranks, [&](Transport& transport) {
    RankTask task = plan.task;
    task.options.gpu = plan.layout.backend.gpu_of(transport.rank().value);
    if (transport.rank() == Rank(0)) show_progress(task, progress);
    RunTotals of_rank = run_rank(transport, task);
    if (transport.rank() == Rank(0)) totals = std::move(of_rank);
  });
  return totals;
}

/// The checkpoints of a run, for as long as it lasts.
struct RunCheckpoints {
  RunCheckpoints(const Job& job, const Arguments& arguments, CaseFile& file, const RunPlan& plan, std::ostream& out)
      : store(job, checkpoint_base(arguments),
              {plan.task.schedule->problem(), std::string(to_string(plan.layout.backend.backend)),
               input_fingerprint(file, plan.task.schedule->problem())}) {
    of_ranks.store = &store;
    of_ranks.stop = &stop;
    of_ranks.seconds_between = seconds_between_checkpoints(arguments);
    of_ranks.is_shared = plan.layout.virtual_ranks() > 0;
    if (!arguments.has("resume")) return;
    of_ranks.start = store.find(out);
    if (of_ranks.start)
      out << "resume   " << of_ranks.start->path << ": lag " << of_ranks.start->place.lag << " of the " << name_of(of_ranks.start->place.pass)
          << " pass comes next\n"
          << std::flush;
  }

  CheckpointStore store;
  StopSignal stop;
  CheckpointPlan of_ranks;
};

/// Computes and completes the result.
RunTotals compute(const Job& job, RunPlan& plan, Transport* transport, FileWriter& result) {
  plan.task.output = &result;
  ProgressBar progress("forward ", job.is_first());
  if (transport != nullptr) show_progress(plan.task, progress);
  RunTotals totals;
  job.together([&] {
    totals = transport != nullptr ? run_rank(*transport, plan.task) : compute_on_loopback(plan, progress);
    for (const auto& [name, value] : result_attributes(plan.task.schedule->problem(), plan.setting, totals)) result.set_attribute(name, value);
    result.commit();
  });
  progress.relabel("");
  return totals;
}

}  // namespace

int run_case(Job& job, const Arguments& arguments, std::ostream& out) {
  refuse_existing(arguments.required_text("output"), arguments.has("force"));
  const auto file = CaseFile::open(arguments.operand(0), job.communicator());
  require_inputs(*file);
  RunPlan plan = make_plan(job, arguments, *file);
  const auto record = arguments.text("record");
  if (record) FileRanks(job.communicator()).on_first_rank([&] { require_record_file(*record); });
  print_plan(out, plan);
  require_memory(plan);
  std::optional<RunCheckpoints> checkpoints;
  if (plan.task.options.in_legs) plan.task.checkpoints = &checkpoints.emplace(job, arguments, *file, plan, out).of_ranks;
  std::optional<JobTransport> transport;
  if (plan.layout.virtual_ranks() == 0) transport.emplace(job, plan.layout);
  require_gpu_memory(job, plan.layout.backend, plan.layout.virtual_ranks(), plan.predicted_gpu_bytes);
  const auto result = FileWriter::create(plan.setting.result_path, result_layout(plan), arguments.has("force"), job.communicator());
  const RunTotals totals = compute(job, plan, transport ? &transport->get() : nullptr, *result);
  if (checkpoints) checkpoints->store.remove_all();
  const Problem& problem = plan.task.schedule->problem();
  out << report_text(problem, plan.setting, totals) << "wrote " << plan.setting.result_path << "\n";
  if (record && job.is_first()) append_record(*record, record_json(problem, plan.setting, totals));
  return 0;
}

Command run_command() {
  return {syntax(), [](Job& job, const Arguments& arguments) { return run_case(job, arguments, job.out()); }};
}

}  // namespace hilbertring

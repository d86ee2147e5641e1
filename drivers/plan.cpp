#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/commands.h"
#include "drivers/description.h"
#include "drivers/machine.h"
#include "drivers/pattern_options.h"
#include "drivers/run_ranks.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "drivers/work.h"

namespace hilbertring {

namespace {

CommandSyntax syntax() {
  return {"plan",
          "Tells what a run would send, hold and compute on each rank, without running it or reading a file.",
          {},
          {shape_options(),
           {"Plan options",
            {{"ranks", "P", "ranks of the ring; else 1"},
             {"type", "TYPE", "of q, k, v: float16, bfloat16, float32 or float64; else float32"},
             {"gradient", "", "plan the backward pass too"},
             {"threads", "T", "per rank; else 1"},
             {"lines", "L", "at most so many steps in a table; else 12"},
             {"backend", "NAME", "cpu or cuda (GPUs linked by NCCL): whose memory is told; else cpu"},
             {"check-memory", "BYTES", "exit with status 4 if a rank needs more on the host, such as 16GiB"},
             {"check-gpu-memory", "BYTES", "likewise on its GPU, such as 80GiB; needs --backend cuda"}}},
           pattern_options()},
          "hilbertring plan --tokens 1000000000 --heads 8 --head-dim 128 --ranks 4096 --preset longnet --causal sequence"};
}

/// A rank's prediction asks for each of its P visits: beyond so many ranks, only ranks at even distances are looked at.
constexpr std::int64_t kMaxRanksLookedAt = 64;

/// The rank that needs most where its tensors lie.
struct LargestRank {
  Rank rank;
  RankMemory memory;
  std::int64_t host_bytes = 0;  ///< at the peak, with the slab that is read or written
  std::int64_t num_looked_at = 0;

  std::int64_t gpu_bytes() const { return memory.gpu.peak_bytes(); }
};

LargestRank largest_rank(const Schedule& schedule, MessagePath path, int num_threads) {
  const ElementType type = schedule.problem().type;
  const std::int64_t num_ranks = schedule.num_ranks();
  const std::int64_t count = std::min(num_ranks, kMaxRanksLookedAt);
  std::vector<LargestRank> all(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < count; ++i) {
    const Rank rank(count == 1 ? 0 : i * (num_ranks - 1) / (count - 1));
    const RankMemory memory = predict_memory(schedule, rank, path, num_threads, type);
    all[static_cast<std::size_t>(i)] = {rank, memory, peak_with_slab(memory.host, schedule, rank, type), count};
  }
  return *std::ranges::max_element(all, {}, [](const LargestRank& of) { return std::pair(of.gpu_bytes(), of.host_bytes); });
}

std::string host_memory_text(const Schedule& schedule, const LargestRank& largest) {
  const MemoryPrediction& memory = largest.memory.host;
  const bool has_all = largest.num_looked_at == schedule.num_ranks();
  const std::int64_t slab = largest_slab_bytes(schedule, largest.rank, schedule.problem().type);
  return format_bytes(largest.host_bytes) + " at the peak on rank " + std::to_string(largest.rank.value) +
         (has_all ? ", the largest" : ", the largest of " + std::to_string(largest.num_looked_at) + " looked at") + ": shard " +
         format_bytes(memory.shard_bytes + memory.redistribution_bytes) + ", and while reading or writing " + format_bytes(memory.load_bytes + slab) +
         ", during a pass " + format_bytes(memory.pass_bytes) + "; kernels " + format_bytes(memory.scratch_bytes);
}

std::string gpu_memory_text(const LargestRank& largest) {
  const MemoryPrediction& memory = largest.memory.gpu;
  return format_bytes(largest.gpu_bytes()) + " at the peak on the same rank: shard " + format_bytes(memory.shard_bytes) +
         ", and while reading or writing " + format_bytes(memory.load_bytes) + ", during a pass " + format_bytes(memory.pass_bytes) +
         "; lists of work, some MiB, and NCCL's buffers apart";
}

/// GPUs of a job that is planned are a rank's own each, and linked.
MessagePath path_of_backend(const Arguments& arguments) {
  const std::string name = arguments.text("backend").value_or("cpu");
  if (name != "cpu" && name != "cuda") throw usage_error("--backend is '" + name + "', but plan knows cpu and cuda");
  if (name == "cpu" && arguments.has("check-gpu-memory")) throw usage_error("--check-gpu-memory needs --backend cuda");
  return name == "cuda" ? MessagePath::kLinked : MessagePath::kHost;
}

void require_at_most(const Arguments& arguments, const std::string& option, const LargestRank& largest, std::int64_t needed_bytes,
                     const std::string& where) {
  const auto limit = arguments.text(option);
  if (!limit || needed_bytes <= parse_bytes(option, *limit)) return;
  throw failure("not enough " + where + ": rank " + std::to_string(largest.rank.value) + " needs " + format_bytes(needed_bytes) + ", --" + option +
                " allows " + format_bytes(parse_bytes(option, *limit)));
}

std::string work_text(const Schedule& schedule) {
  const std::optional<std::vector<double>> work = work_per_rank(schedule);
  if (!work) return "not counted: sequence causality over so many tokens on a curve";
  const double total = std::accumulate(work->begin(), work->end(), 0.0);
  const double mean = total / static_cast<double>(work->size());
  const double most = *std::max_element(work->begin(), work->end());
  return format_number(total) + " allowed pairs; per rank " + format_number(mean) + " on average, " + format_number(most) +
         " at most; balance (most / average) " + format_number(mean > 0 ? most / mean : 1.0);
}

Problem problem_from(const Job& job, const Arguments& arguments) {
  Problem problem{.shape = shape_from(arguments),
                  .type = parse_element_type(arguments.text("type").value_or("float32")),
                  .specification = {},
                  .with_gradient = arguments.has("gradient")};
  require_pattern(arguments, "plan");
  problem.specification = with_pattern_options({}, arguments, problem.shape, job.out());
  if (problem.specification.curve == Curve::kFile) throw usage_error("curve is 'file', but plan reads no case file; give another curve");
  return problem;
}

int plan(Job& job, const Arguments& arguments) {
  job.require_one_rank("plan");
  const Problem problem = problem_from(job, arguments);
  const std::int64_t num_ranks = arguments.integer_or("ranks", 1, 1);
  const std::int64_t num_threads = arguments.integer_or("threads", 1, 1);
  const std::int64_t num_lines = arguments.integer_or("lines", 12, 3);
  const MessagePath path = path_of_backend(arguments);
  problem.validate(num_ranks);
  const Schedule schedule(problem, make_orders(problem.specification, problem.shape.tokens), num_ranks);
  const LargestRank largest = largest_rank(schedule, path, static_cast<int>(num_threads));

  TextTable table = name_value_table();
  table.add_row({"shape", to_string(problem.shape) + " " + std::string(to_string(problem.type)) +
                              (problem.with_gradient ? ", forward and backward" : ", forward")});
  add_specification_rows(table, problem.specification, problem.shape);
  table.add_row({"ranks", format_count(num_ranks) + ", at most " + format_count(schedule.placement().max_rows()) + " tokens each"});
  add_traffic_rows(table, schedule);
  table.add_row({"memory", host_memory_text(schedule, largest)});
  if (path != MessagePath::kHost) table.add_row({"on its GPU", gpu_memory_text(largest)});
  table.add_row({"work", work_text(schedule)});
  job.out() << table.to_text();
  if (num_ranks > 1) {
    job.out() << "\n" << schedule.to_text(Pass::kForward, num_lines);
    if (problem.with_gradient) job.out() << "\n" << schedule.to_text(Pass::kBackward, num_lines);
  }
  require_at_most(arguments, "check-memory", largest, largest.host_bytes, "memory");
  require_at_most(arguments, "check-gpu-memory", largest, largest.gpu_bytes(), "GPU memory");
  return 0;
}

}  // namespace

Command plan_command() { return {syntax(), plan}; }

}  // namespace hilbertring

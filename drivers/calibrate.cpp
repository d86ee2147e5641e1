#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <optional>
#include <ostream>
#include <span>
#include <string>

#include "core/error.h"
#include "drivers/bench_job.h"
#include "drivers/calibration.h"
#include "drivers/commands.h"
#include "drivers/machine.h"
#include "drivers/rates_file.h"
#include "drivers/text_table.h"
#include "drivers/units.h"
#include "drivers/version.h"
#include "io/agreement.h"
#include "io/files.h"
#include "io/removed_on_signal.h"

namespace hilbertring {

namespace {

CommandSyntax syntax() {
  return {"calibrate",
          "Measures how fast ranks fold and how fast messages travel, for the times that plan and bench predict with --rates.",
          {},
          {{"Calibrate options",
            {{"output", "RATES.json", "the file of rates", 'o'},
             {"type", "TYPE", "of q, k, v: float16, bfloat16, float32 or float64; else float32"},
             {"head-dim", "D", "8, 16, ... 256; else 64"},
             {"heads", "H", "of queries, keys and values; else 8"},
             {"tokens-per-rank", "N", "of the problems that time the folds; else 2048 on the CPU, 32768 on a GPU"},
             {"repeats", "R", "timed passes of each kind, whose median counts; else 5"},
             {"force", "", "replace RATES.json if it exists"}}},
           layout_options()},
          "mpirun -np 4 hilbertring calibrate -o rates.json --type bfloat16 --head-dim 128"};
}

/// The file, from the refusal of a name that can't be to the whole text under it; the first rank's work, and every rank's error.
class OutputFile {
 public:
  OutputFile(const Job& job, const Arguments& arguments)
      : ranks_(job.communicator()), path_(arguments.required_text("output")), may_replace_(arguments.has("force")) {
    ranks_.on_first_rank([&] {
      removed_on_signal_.emplace(partial_path(path_));
      prepare_partial_file(path_, may_replace_, 0);
    });
  }
  ~OutputFile() {
    if (ranks_.rank() == 0) remove_partial_file(path_);
  }
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  const std::string& path() const { return path_; }
  void publish(const std::string& text) {
    ranks_.on_first_rank([&] {
      write_text_file(partial_path(path_), text);
      publish_partial_file(path_, may_replace_);
      removed_on_signal_.reset();
    });
  }

 private:
  FileRanks ranks_;
  std::string path_;
  bool may_replace_;
  std::optional<RemovedOnSignal> removed_on_signal_;  ///< the partial file, on the first rank
};

class Calibration {
 public:
  Calibration(Job& job, const Arguments& arguments) : job_(job), layout_(choose_layout(job, arguments)) {
    const bool is_on_gpu = layout_.backend.backend == Backend::kCuda;
    size_ = {.type = parse_element_type(arguments.text("type").value_or("float32")),
             .heads = arguments.integer_or("heads", 8, 1),
             .head_dim = arguments.integer_or("head-dim", 64, 1),
             .tokens = arguments.integer_or("tokens-per-rank", is_on_gpu ? 32768 : 2048, 1)};
    size_.validate();
    num_repeats_ = arguments.integer_or("repeats", 5, 1);
  }

  /// nullopt if a check missed, which has been told.
  std::optional<RatesFile> measure() {
    std::optional<JobTransport> transport;
    if (layout_.virtual_ranks() == 0) transport.emplace(job_, layout_);
    const MeasureProblem over_all = measure_over(transport ? &transport->get() : nullptr);
    RatesFile file{.path = "",
                   .rates = {.backend = layout_.backend.backend,
                             .type = size_.type,
                             .head_dim = size_.head_dim,
                             .num_threads = layout_.num_threads,
                             .ranks_per_node = job_.max(layout_.ranks_on_node)},
                   .note = "",
                   .program_version = program_version(),
                   .build = build_description(),
                   .machine = host_name(),
                   .device = "",
                   .transport = to_string(layout_.transport)};
    if (!measure_folds(size_, layout_.num_ranks, over_all, file.rates)) return std::nullopt;
    if (layout_.num_ranks > 1 && !measure_links(over_all, file.rates)) return std::nullopt;
    file.device = device_;
    return file;
  }

 private:
  MeasureProblem measure_over(Transport* transport) {
    return [this, transport](const Problem& problem, std::int64_t num_ranks, const Repetition& repetition) -> std::optional<BenchFigures> {
      BenchTask task = bench_task(job_, layout_, problem, num_ranks);
      task.num_repeats = num_repeats_ * repetition.factor;
      task.num_more_transfers = repetition.num_more_transfers;
      if (num_ranks == layout_.num_ranks) require_bench_memory(job_, layout_, task);
      BenchFigures figures = run_bench(job_, layout_, task, transport, "calibrate");
      device_ = figures.device;
      // Of a node's own ring the first rank of all knows nothing: each of its ranks has the same complaints, and the node's first says them.
      const bool speaks = num_ranks == layout_.num_ranks ? job_.is_first() : job_.rank_on_node() == 0;
      for (const std::string& complaint : figures.complaints) {
        if (speaks) std::cout << "MISSED: " << complaint << std::endl;
      }
      if (!figures.complaints.empty()) return std::nullopt;
      return figures;
    };
  }

  /// A ring over all nodes is as slow as the messages between nodes are; within nodes each node's ranks make a ring of their own, all at once.
  bool measure_links(const MeasureProblem& over_all, Rates& rates) {
    const std::optional<MeasuredLink> of_ring = measure_link(size_, layout_.num_ranks, over_all);
    if (!of_ring) return false;
    rates.overlap = of_ring->overlap;
    const bool has_one_node = job_.min(layout_.ranks_on_node) == layout_.num_ranks;
    (has_one_node ? rates.within_node : rates.between_nodes) = of_ring->link;
    if (has_one_node || rates.ranks_per_node == 1) return true;
    return measure_within_nodes(rates);
  }

  bool measure_within_nodes(Rates& rates) {
    const NodeRanks node(job_.communicator());
    LinkRates slowest{.bytes_per_second = std::numeric_limits<double>::infinity(), .seconds_per_message = 0};
    bool is_good = true;
    {
      const JobTransport transport(job_, layout_, node.communicator());
      if (layout_.ranks_on_node > 1) {
        const std::optional<MeasuredLink> measured = measure_link(size_, layout_.ranks_on_node, measure_over(&transport.get()));
        is_good = measured.has_value();
        if (measured) slowest = measured->link;
      }
    }
    MPI_Allreduce(MPI_IN_PLACE, &slowest.bytes_per_second, 1, MPI_DOUBLE, MPI_MIN, job_.communicator());
    MPI_Allreduce(MPI_IN_PLACE, &slowest.seconds_per_message, 1, MPI_DOUBLE, MPI_MAX, job_.communicator());
    rates.within_node = slowest;
    return job_.min(is_good ? 1 : 0) == 1;
  }

  Job& job_;
  RankLayout layout_;
  CalibrationSize size_;
  std::int64_t num_repeats_ = 5;
  std::string device_;
};

/// More digits than a repeat would confirm serve nobody.
void round_rates(Rates& rates) {
  const auto round = [](double& value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3e", value);
    value = std::strtod(text, nullptr);
  };
  for (FoldRates* folds : {&rates.forward, &rates.backward}) {
    for (double* value : {&folds->whole, &folds->cut, &folds->dilated, &folds->seconds_per_fold, &folds->seconds_per_row}) round(*value);
  }
  for (auto* link : {&rates.within_node, &rates.between_nodes}) {
    if (!*link) continue;
    round((*link)->bytes_per_second);
    round((*link)->seconds_per_message);
  }
  round(rates.overlap);
}

std::string rates_table(const RatesFile& file) {
  const Rates& rates = file.rates;
  TextTable folds({{"pass", Align::kLeft}, {"whole"}, {"cut"}, {"dilated"}, {"per fold"}, {"per row and head"}});
  for (const auto& [name, of_pass] : {std::pair("forward", &rates.forward), std::pair("backward", &rates.backward)}) {
    folds.add_row({name, format_number(of_pass->whole), format_number(of_pass->cut), format_number(of_pass->dilated),
                   format_number(of_pass->seconds_per_fold * 1e6) + " us", format_number(of_pass->seconds_per_row * 1e9) + " ns"});
  }
  TextTable links({{"link", Align::kLeft}, {"GB/s"}, {"per message"}});
  for (const auto& [name, link] : {std::pair("within a node", rates.within_node), std::pair("between nodes", rates.between_nodes)}) {
    if (link) links.add_row({name, format_number(link->bytes_per_second * 1e-9), format_number(link->seconds_per_message * 1e6) + " us"});
  }
  return "allowed pairs per second of a rank, " + file.device + ", " + std::string(to_string(rates.type)) + ", D=" + std::to_string(rates.head_dim) +
         "\n" + folds.to_text() + (rates.has_link() ? links.to_text() + "overlap " + format_number(rates.overlap) + "\n" : "");
}

int calibrate(Job& job, const Arguments& arguments) {
  OutputFile output(job, arguments);
  std::optional<RatesFile> file = Calibration(job, arguments).measure();
  if (!file) return kStatusMissed;
  round_rates(file->rates);
  file->rates.validate();
  output.publish(to_json(*file));
  job.out() << rates_table(*file) << "wrote " << output.path() << "\n";
  return 0;
}

}  // namespace

Command calibrate_command() { return {syntax(), calibrate}; }

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/element_type.h"
#include "drivers/sampled_row_check.h"
#include "ring/attention.h"
#include "ring/schedule.h"
#include "ring/transport.h"

namespace hilbertring {

/// How a problem is measured: what every rank is given.
struct BenchTask {
  std::shared_ptr<const Schedule> schedule;
  RingOptions options;
  ElementType output_type = ElementType::kFloat32;  ///< of o and gradients when rows are checked
  std::uint64_t seed = 0;
  std::int64_t num_checked_rows = 16;  ///< of queries, and of keys
  std::int64_t num_warmups = 1;
  std::int64_t num_repeats = 5;
  std::int64_t num_more_transfers = 0;  ///< forward transfers alone, timed after all those: they take little time, and scatter much
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};  ///< rounds of passes; on one rank at most
};

/// Seconds of one pass, one entry per repeat, each the slowest rank's. Entry i of each was measured right after the other.
struct PassTimes {
  std::vector<double> ring;          ///< as `run` does it
  std::vector<double> compute;       ///< the same blocks, nothing sent
  std::vector<double> mean_compute;  ///< the same, but the mean of all ranks
  std::vector<double> transfers;     ///< the same messages, no block computed
  std::vector<double> waiting;       ///< of the ring: computing stood still for messages
  std::vector<double> step;          ///< of the ring: one step, a visit waited for and folded, on average; 0 if there are none
};

struct PassFigures {
  PassTimes times;
  std::int64_t sent_bytes = 0;  ///< by all ranks, as predicted
};

/// The largest error of a tensor's sampled rows, over all ranks, as a fraction of its bound.
struct CheckedTensor {
  TensorName name;
  double worst_fraction = 0;
};

/// What a benchmark found, the same on all ranks.
struct BenchFigures {
  std::vector<std::string> complaints;  ///< empty, or what was wrong with results or bytes: then there are no times
  std::vector<CheckedTensor> checked;
  std::int64_t allowed_pairs = 0;  ///< of each pass
  PassFigures forward, backward;
  const PassFigures& of(Pass pass) const { return pass == Pass::kForward ? forward : backward; }
  PassFigures& of(Pass pass) { return pass == Pass::kForward ? forward : backward; }
  std::int64_t peak_bytes = 0;            ///< of the library's buffers on the largest rank, where its tensors lie (GPU or host), counted
  std::int64_t predicted_peak_bytes = 0;  ///< likewise, predicted
  std::string device;
};

/// Makes random inputs, checks results and bytes of both passes, then times them: whole, without messages, without computing. Collective over the
/// transport.
BenchFigures bench_rank(Transport& transport, const BenchTask& task);

/// Most bytes that a rank holds at a time on the host: the library's buffers, the slab that goes in or out, and what the check keeps.
std::int64_t predicted_bench_bytes(const BenchTask& task, MessagePath path, Rank rank);

}  // namespace hilbertring

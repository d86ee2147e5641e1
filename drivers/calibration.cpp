#include "drivers/calibration.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"
#include "drivers/bench_report.h"
#include "hilbert/order.h"
#include "ring/schedule.h"

namespace hilbertring {

namespace {

/// So short a shard that its pairs cost little beside the fold itself, and its rows little beside the message.
constexpr std::int64_t kTinyTokens = 16;
/// It takes microseconds, and is disturbed by as much.
constexpr std::int64_t kTinyFactor = 5;
constexpr std::int64_t kMoreTransfers = 40;
constexpr std::int64_t kDilationRate = 4;

/// A divisor of the shard, long enough that a pair of chunks does not show.
std::int64_t chunk_for_shard(std::int64_t num_tokens) {
  constexpr std::int64_t kMinChunk = 512;
  std::int64_t chunk = num_tokens;
  for (const std::int64_t parts : {2, 4, 8, 16}) {
    if (num_tokens % parts == 0 && num_tokens / parts >= kMinChunk) chunk = num_tokens / parts;
  }
  return chunk;
}

/// Shards of equal length, each one segment (`is_ring`: the whole sequence is one).
Problem shards_of(const CalibrationSize& size, std::int64_t num_tokens, std::int64_t num_ranks, bool is_ring) {
  Problem problem{.shape = {.batch = 1, .tokens = num_tokens * num_ranks, .heads = size.heads, .kv_heads = size.heads, .head_dim = size.head_dim},
                  .type = size.type,
                  .specification = {},
                  .with_gradient = true};
  problem.specification.segment_lengths = {is_ring ? problem.shape.tokens : num_tokens};
  problem.specification.dilation_rates = {1};
  problem.specification.curve = Curve::kIdentity;
  problem.specification.chunk = chunk_for_shard(num_tokens);
  return problem;
}

Problem causal_shards(const CalibrationSize& size, std::int64_t num_ranks) {
  Problem problem = shards_of(size, size.tokens, num_ranks, false);
  problem.specification.causal = Causal::kPosition;
  return problem;
}

/// As many pairs as without dilation, in a longer shard.
Problem dilated_shards(const CalibrationSize& size, std::int64_t num_ranks) {
  Problem problem = shards_of(size, size.tokens * kDilationRate, num_ranks, false);
  problem.specification.dilation_rates = {kDilationRate};
  problem.specification.offset = Offset::kHeadMod;
  return problem;
}

const PassFigures& of_pass(const BenchFigures& figures, Pass pass) { return pass == Pass::kForward ? figures.forward : figures.backward; }

double pairs_per_rank(const BenchFigures& figures, std::int64_t num_ranks) {
  return static_cast<double>(figures.allowed_pairs) / static_cast<double>(num_ranks);
}

double pairs_per_second(const BenchFigures& figures, Pass pass, std::int64_t num_ranks) {
  return pairs_per_rank(figures, num_ranks) / median(of_pass(figures, pass).times.compute);
}

/// Own rows once, and each other rank's, in each slice.
double num_folds(const Problem& problem, std::int64_t num_ranks) {
  const std::int64_t num_slices = num_ranks == 1 ? 1 : static_cast<std::int64_t>(cut_in_two(problem.shape).size());
  return static_cast<double>(num_slices * num_ranks);
}

/// In the forward pass a rank sends its shard to each of the others, one message for each slice.
double num_messages(const Problem& problem, std::int64_t num_ranks) {
  return static_cast<double>((num_ranks - 1) * static_cast<std::int64_t>(cut_in_two(problem.shape).size()));
}

/// Of the shorter of computing and transfers in both passes, the share by which the ring was shorter than their sum.
double overlap_of(const BenchFigures& figures) {
  double ring = 0, compute = 0, transfers = 0;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    const PassTimes& times = of_pass(figures, pass).times;
    ring += median(times.ring), compute += median(times.compute), transfers += median(times.transfers);
  }
  return std::clamp((compute + transfers - ring) / std::min(compute, transfers), 0.0, 1.0);
}

}  // namespace

void CalibrationSize::validate() const {
  Shape{.batch = 1, .tokens = tokens, .heads = heads, .kv_heads = heads, .head_dim = head_dim}.validate();
  if (tokens < kTinyTokens * 16 || tokens % 4 != 0) {
    throw usage_error("--tokens-per-rank is " + std::to_string(tokens) + ", but must be even and at least " + std::to_string(kTinyTokens * 16));
  }
}

bool measure_folds(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure, Rates& rates) {
  const std::array<std::pair<Problem, double FoldRates::*>, 3> kinds = {{{shards_of(size, size.tokens, num_ranks, false), &FoldRates::whole},
                                                                         {causal_shards(size, num_ranks), &FoldRates::cut},
                                                                         {dilated_shards(size, num_ranks), &FoldRates::dilated}}};
  for (const auto& [problem, kind] : kinds) {
    const std::optional<BenchFigures> figures = measure(problem, num_ranks, {});
    if (!figures) return false;
    rates.forward.*kind = pairs_per_second(*figures, Pass::kForward, num_ranks);
    rates.backward.*kind = pairs_per_second(*figures, Pass::kBackward, num_ranks);
  }
  const Problem tiny = shards_of(size, kTinyTokens, num_ranks, true);
  const std::optional<BenchFigures> figures = measure(tiny, num_ranks, {.factor = kTinyFactor});
  if (!figures) return false;
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    FoldRates& folds = pass == Pass::kForward ? rates.forward : rates.backward;
    const double seconds = median(of_pass(*figures, pass).times.compute) - pairs_per_rank(*figures, num_ranks) / folds.whole;
    folds.seconds_per_fold = std::max(seconds, 0.0) / num_folds(tiny, num_ranks);
  }
  return true;
}

std::optional<MeasuredLink> measure_link(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure) {
  const Problem tiny = shards_of(size, kTinyTokens, num_ranks, true), small = shards_of(size, size.tokens / 2, num_ranks, true);
  const std::optional<BenchFigures> of_tiny = measure(tiny, num_ranks, {.factor = kTinyFactor, .num_more_transfers = kMoreTransfers});
  const std::optional<BenchFigures> of_small = of_tiny ? measure(small, num_ranks, {.num_more_transfers = kMoreTransfers}) : std::nullopt;
  if (!of_small) return std::nullopt;
  const auto bytes = [&](const BenchFigures& figures) { return static_cast<double>(figures.forward.sent_bytes) / static_cast<double>(num_ranks); };
  const auto seconds = [](const BenchFigures& figures) { return median(figures.forward.times.transfers); };
  MeasuredLink measured;
  // On a machine with other work small messages can take as long as tiny ones: then all of their time is put down to bytes.
  const bool tells_apart = seconds(*of_small) > seconds(*of_tiny);
  measured.link.bytes_per_second =
      tells_apart ? (bytes(*of_small) - bytes(*of_tiny)) / (seconds(*of_small) - seconds(*of_tiny)) : bytes(*of_small) / seconds(*of_small);
  const double of_messages = tells_apart ? seconds(*of_tiny) - bytes(*of_tiny) / measured.link.bytes_per_second : 0;
  measured.link.seconds_per_message = std::max(of_messages, 0.0) / num_messages(tiny, num_ranks);
  measured.overlap = overlap_of(*of_small);
  return measured;
}

}  // namespace hilbertring

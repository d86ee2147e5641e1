#include "drivers/calibration.h"

#include <algorithm>
#include <vector>

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
/// Segments so short that rows show beside their pairs.
constexpr std::int64_t kShortParts = 8;

/// A divisor of the shard, long enough that a pair of chunks does not show.
std::int64_t chunk_for_shard(std::int64_t num_tokens) {
  constexpr std::int64_t kMinChunk = 512;
  std::int64_t chunk = num_tokens;
  for (const std::int64_t parts : {2, 4, 8, 16}) {
    if (num_tokens % parts == 0 && num_tokens / parts >= kMinChunk) chunk = num_tokens / parts;
  }
  return chunk;
}

/// Shards of equal length under segments of the given one.
Problem shards_of(const CalibrationSize& size, std::int64_t num_tokens, std::int64_t num_ranks, std::int64_t segment_length) {
  Problem problem{.shape = {.batch = 1, .tokens = num_tokens * num_ranks, .heads = size.heads, .kv_heads = size.heads, .head_dim = size.head_dim},
                  .type = size.type,
                  .specification = {},
                  .with_gradient = true};
  problem.specification.segment_lengths = {segment_length};
  problem.specification.dilation_rates = {1};
  problem.specification.curve = Curve::kIdentity;
  problem.specification.chunk = chunk_for_shard(num_tokens);
  return problem;
}

Problem ring_of(const CalibrationSize& size, std::int64_t num_tokens, std::int64_t num_ranks) {
  return shards_of(size, num_tokens, num_ranks, num_tokens * num_ranks);
}

Problem causal_shards(const CalibrationSize& size, std::int64_t num_ranks) {
  Problem problem = shards_of(size, size.tokens, num_ranks, size.tokens);
  problem.specification.causal = Causal::kPosition;
  return problem;
}

/// As many pairs as without dilation, in a longer shard.
Problem dilated_shards(const CalibrationSize& size, std::int64_t num_ranks) {
  Problem problem = shards_of(size, size.tokens * kDilationRate, num_ranks, size.tokens * kDilationRate);
  problem.specification.dilation_rates = {kDilationRate};
  problem.specification.offset = Offset::kHeadMod;
  return problem;
}

double pairs_per_rank(const BenchFigures& figures, std::int64_t num_ranks) {
  return static_cast<double>(figures.allowed_pairs) / static_cast<double>(num_ranks);
}

double compute_seconds(const BenchFigures& figures, Pass pass) { return median(figures.of(pass).times.compute); }

/// Query rows of a rank, of all heads.
double rows_per_rank(const Problem& problem, std::int64_t num_ranks) {
  return static_cast<double>(problem.shape.tokens * problem.shape.heads) / static_cast<double>(num_ranks);
}

/// Of a problem with these pairs and rows, what its rows cost apart; never so much that nothing is left for its pairs.
double pairs_per_second(double pairs, double rows, double seconds, double seconds_per_row) {
  return pairs / std::max(seconds - rows * seconds_per_row, seconds / 2);
}

/// What long and short segments of the same rows take: the difference is pairs, what is left of the short ones is rows. On a machine with other work
/// the short ones can seem to take as long: then rows are put down to pairs.
void set_whole_and_rows(FoldRates& rates, double long_pairs, double long_seconds, double short_pairs, double short_seconds, double rows) {
  const bool tells_apart = long_seconds > short_seconds;
  const double whole = tells_apart ? (long_pairs - short_pairs) / (long_seconds - short_seconds) : long_pairs / long_seconds;
  rates.seconds_per_row = std::max(short_seconds - short_pairs / whole, 0.0) / rows;
  rates.whole = pairs_per_second(long_pairs, rows, long_seconds, rates.seconds_per_row);
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
    const PassTimes& times = figures.of(pass).times;
    ring += median(times.ring), compute += median(times.compute), transfers += median(times.transfers);
  }
  return std::clamp((compute + transfers - ring) / std::min(compute, transfers), 0.0, 1.0);
}

}  // namespace

void CalibrationSize::validate() const {
  Shape{.batch = 1, .tokens = tokens, .heads = heads, .kv_heads = heads, .head_dim = head_dim}.validate();
  if (tokens < kTinyTokens * 16 || tokens % kShortParts != 0) {
    throw usage_error("--tokens-per-rank is " + std::to_string(tokens) + ", but must be a multiple of " + std::to_string(kShortParts) +
                      " and at least " + std::to_string(kTinyTokens * 16));
  }
}

bool measure_folds(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure, Rates& rates) {
  const Problem whole = shards_of(size, size.tokens, num_ranks, size.tokens), cut = causal_shards(size, num_ranks),
                dilated = dilated_shards(size, num_ranks), tiny = ring_of(size, kTinyTokens, num_ranks),
                short_segments = shards_of(size, size.tokens, num_ranks, size.tokens / kShortParts);
  std::vector<BenchFigures> measured;
  for (const Problem& problem : {whole, short_segments, cut, dilated, tiny}) {
    const bool is_tiny = problem.shape == tiny.shape;
    const std::optional<BenchFigures> figures = measure(problem, num_ranks, {.factor = is_tiny ? kTinyFactor : 1});
    if (!figures) return false;
    measured.push_back(*figures);
  }
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    FoldRates& folds = rates.of(pass);
    const auto pairs = [&](std::size_t i) { return pairs_per_rank(measured[i], num_ranks); };
    const auto seconds = [&](std::size_t i) { return compute_seconds(measured[i], pass); };
    set_whole_and_rows(folds, pairs(0), seconds(0), pairs(1), seconds(1), rows_per_rank(whole, num_ranks));
    folds.cut = pairs_per_second(pairs(2), rows_per_rank(cut, num_ranks), seconds(2), folds.seconds_per_row);
    folds.dilated = pairs_per_second(pairs(3), rows_per_rank(dilated, num_ranks), seconds(3), folds.seconds_per_row);
    const double of_folds = seconds(4) - pairs(4) / folds.whole - rows_per_rank(tiny, num_ranks) * folds.seconds_per_row;
    folds.seconds_per_fold = std::max(of_folds, 0.0) / num_folds(tiny, num_ranks);
  }
  return true;
}

std::optional<MeasuredLink> measure_link(const CalibrationSize& size, std::int64_t num_ranks, const MeasureProblem& measure) {
  const Problem tiny = ring_of(size, kTinyTokens, num_ranks), small = ring_of(size, size.tokens / 2, num_ranks);
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

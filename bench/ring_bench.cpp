// What the ring costs: whole passes over several ranks against the same blocks computed without moving anything, in the same run. Loopback ranks, or
// MPI ranks when started by mpirun on more than one. Sampled rows are checked in float64 before anything is timed.
#include <mpi.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/random.h"
#include "core/reference.h"
#include "ring/agreement.h"
#include "ring/attention.h"
#include "ring/loopback.h"
#include "ring/mpi_transport.h"
#include "ring/redistribution.h"

namespace hilbertring {
namespace {

constexpr std::uint64_t kSeed = 1;
constexpr std::int64_t kNumSampledRows = 3;
constexpr double kMostOverhead = 1.05;

struct Options {
  std::int64_t num_ranks = 4;
  std::int64_t tokens = 16384;
  std::int64_t heads = 2;
  std::int64_t head_dim = 64;
  int threads = 1;
  int repeats = 5;
  bool json = false;
  bool require = false;
};

struct NamedProblem {
  std::string name;
  Problem problem;
};

std::vector<NamedProblem> make_problems(const Options& options) {
  Problem dense;
  dense.shape = {.batch = 1, .tokens = options.tokens, .heads = options.heads, .kv_heads = options.heads, .head_dim = options.head_dim};
  dense.with_gradient = true;
  dense.specification.segment_lengths = {options.tokens};
  dense.specification.dilation_rates = {1};
  Problem causal = dense;
  causal.specification.causal = Causal::kPosition;
  causal.specification.placement = Placement::kZigzag;
  Problem dilated = dense;
  dilated.specification.segment_lengths = {options.tokens / 16, options.tokens / 4, options.tokens};
  dilated.specification.dilation_rates = {1, 2, 4};
  return {{"dense", dense}, {"causal, zigzag", causal}, {"dilated w = N/16, N/4, N; r = 1, 2, 4", dilated}};
}

constexpr TensorId id_of(ShardTensor tensor) {
  return tensor == ShardTensor::kQ   ? TensorId::kQ
         : tensor == ShardTensor::kK ? TensorId::kK
         : tensor == ShardTensor::kV ? TensorId::kV
                                     : TensorId::kDo;
}

float input_at(ShardTensor tensor, std::int64_t index) { return static_cast<float>(normal_at(kSeed, id_of(tensor), index)); }

std::span<std::byte> bytes_of(std::vector<float>& values) { return std::as_writable_bytes(std::span(values)); }

/// One rank's part in the benchmark of one problem.
class RankBench {
 public:
  RankBench(Transport& transport, std::shared_ptr<const Schedule> schedule, const Options& options)
      : transport_(transport), schedule_(std::move(schedule)), options_(options) {}

  struct Times {
    std::vector<double> moving, still;  ///< seconds of the slowest rank, per repeat
  };
  struct Result {
    Times forward, backward;
    std::int64_t forward_bytes = 0, backward_bytes = 0;     ///< of all ranks
    std::int64_t peak_bytes = 0, predicted_peak_bytes = 0;  ///< most of any rank
  };

  Result run() {
    RingAttention moving(transport_, schedule_, {.num_threads = options_.threads});
    load(moving);
    Result result;
    result.forward_bytes = checked_bytes(moving.forward());
    check_sampled_rows(moving);
    result.backward_bytes = checked_bytes(moving.backward());
    RingAttention still(transport_, schedule_, {.num_threads = options_.threads});
    load(still);
    still.forward(PassMode::kComputeAlone);
    for (int i = 0; i < options_.repeats; ++i) {
      result.forward.moving.push_back(slowest([&] { return moving.forward(); }));
      result.forward.still.push_back(slowest([&] { return still.forward(PassMode::kComputeAlone); }));
      result.backward.moving.push_back(slowest([&] { return moving.backward(); }));
      result.backward.still.push_back(slowest([&] { return still.backward(PassMode::kComputeAlone); }));
    }
    result.peak_bytes = over_ranks(moving.memory().peak_bytes(), Reduction::kMax);
    result.predicted_peak_bytes = over_ranks(moving.predicted_memory().host.peak_bytes(), Reduction::kMax);
    return result;
  }

 private:
  Range<SequenceIndex> slab() const { return sequence_slab(shape().tokens, transport_.num_ranks(), transport_.rank()); }
  const Shape& shape() const { return schedule_->problem().shape; }

  void load(RingAttention& attention) const {
    const std::int64_t row = shape().heads * shape().head_dim;
    std::vector<float> values(static_cast<std::size_t>(slab().size() * row));
    for (const ShardTensor tensor : {ShardTensor::kQ, ShardTensor::kK, ShardTensor::kV, ShardTensor::kDo}) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = input_at(tensor, slab().begin.value * row + static_cast<std::int64_t>(i));
      attention.load(tensor, bytes_of(values));
    }
  }

  std::int64_t over_ranks(std::int64_t value, Reduction reduction) const {
    transport_.all_reduce(std::span(&value, 1), reduction);
    return value;
  }

  std::int64_t checked_bytes(const PassReport& report) const {
    agree(transport_, [&] {
      if (report.sent_bytes != report.predicted_bytes) throw failure("sent bytes differ from the prediction");
    });
    return over_ranks(report.sent_bytes, Reduction::kSum);
  }

  /// What the pass says of itself: making visitors for those that nothing moves for is not part of it.
  template <class Pass>
  double slowest(Pass&& pass) const {
    transport_.barrier();
    double seconds = pass().seconds;
    transport_.all_reduce(std::span(&seconds, 1), Reduction::kMax);
    return seconds;
  }

  RowReader reader(ShardTensor tensor) const {
    return [this, tensor](std::int64_t, std::int64_t head, SequenceIndex token, std::span<double> row) {
      for (std::size_t d = 0; d < row.size(); ++d) {
        row[d] = static_cast<double>(input_at(tensor, (token.value * shape().heads + head) * shape().head_dim + static_cast<std::int64_t>(d)));
      }
    };
  }

  void check_sampled_rows(RingAttention& attention) const {
    std::vector<float> o(static_cast<std::size_t>(slab().size() * shape().heads * shape().head_dim));
    attention.store(ShardTensor::kO, ElementType::kFloat32, bytes_of(o));
    const Orders& orders = schedule_->orders();
    const ReferenceInputs inputs{
        .pattern = &schedule_->pattern(),
        .order = {[&](Position p) { return orders.queries->sequence_index(p); }, [&](Position p) { return orders.keys->sequence_index(p); },
                  [&](SequenceIndex t) { return orders.queries->position(t); }, [&](SequenceIndex t) { return orders.keys->position(t); }},
        .scale = schedule_->problem().specification.scale_for(shape()),
        .q = reader(ShardTensor::kQ),
        .k = reader(ShardTensor::kK),
        .v = reader(ShardTensor::kV),
        .d_o = nullptr};
    agree(transport_, [&] {
      for (std::int64_t i = 0; i < kNumSampledRows; ++i) check_row(inputs, o, i * (slab().size() - 1) / kNumSampledRows, i % shape().heads);
    });
  }

  void check_row(const ReferenceInputs& inputs, const std::vector<float>& o, std::int64_t row, std::int64_t head) const {
    const ReferenceQueryRow expected = reference_query_row(inputs, 0, head, slab().begin + row);
    for (std::size_t d = 0; d < expected.o.size(); ++d) {
      const double actual = o[static_cast<std::size_t>((row * shape().heads + head) * shape().head_dim) + d];
      const double bound = 16 * unit_roundoff(ElementType::kFloat32) * (1 + expected.max_abs_score) * expected.o_abs[d];
      if (!(std::abs(actual - expected.o[d]) <= bound)) {
        throw failure("o of token " + std::to_string(slab().begin.value + row) + " is " + std::to_string(actual) + " instead of " +
                      std::to_string(expected.o[d]));
      }
    }
  }

  Transport& transport_;
  std::shared_ptr<const Schedule> schedule_;
  const Options& options_;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Prints one pass; returns whether the target is met.
bool report(const Options& options, const std::string& name, const std::string& pass, const RankBench::Times& times, std::int64_t bytes,
            const RankBench::Result& result) {
  const double moving = median(times.moving), still = median(times.still);
  std::printf("%-38s %-9s %10.3f %12.3f %8.3f %12.1f %11.1f %11.1f\n", name.c_str(), pass.c_str(), moving, still, moving / still,
              static_cast<double>(bytes) / (1 << 20), static_cast<double>(result.peak_bytes) / (1 << 20),
              static_cast<double>(result.predicted_peak_bytes) / (1 << 20));
  if (options.json) {
    std::cout << nlohmann::json{{"benchmark", "ring"},
                                {"pattern", name},
                                {"pass", pass},
                                {"ranks", options.num_ranks},
                                {"tokens", options.tokens},
                                {"heads", options.heads},
                                {"head_dim", options.head_dim},
                                {"ring_s", moving},
                                {"still_s", still},
                                {"ratio", moving / still},
                                {"sent_bytes", bytes},
                                {"peak_bytes", result.peak_bytes},
                                {"predicted_peak_bytes", result.predicted_peak_bytes}}
              << '\n';
  }
  return moving <= kMostOverhead * still;
}

bool bench_rank(Transport& transport, const NamedProblem& named, const std::shared_ptr<const Schedule>& schedule, const Options& options) {
  const RankBench::Result result = RankBench(transport, schedule, options).run();
  if (transport.rank() != Rank(0)) return true;
  const bool forward = report(options, named.name, "forward", result.forward, result.forward_bytes, result);
  const bool backward = report(options, named.name, "backward", result.backward, result.backward_bytes, result);
  return forward && backward;
}

bool bench(Options options) {
  int num_mpi_ranks = 1, mpi_rank = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &num_mpi_ranks);
  MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
  if (num_mpi_ranks > 1) options.num_ranks = num_mpi_ranks;
  if (mpi_rank == 0) {
    std::printf("ring over %lld %s ranks, %d threads each; %lld tokens, %lld heads, D = %lld, float32\n", static_cast<long long>(options.num_ranks),
                num_mpi_ranks > 1 ? "MPI" : "loopback", options.threads, static_cast<long long>(options.tokens),
                static_cast<long long>(options.heads), static_cast<long long>(options.head_dim));
    std::printf("%-38s %-9s %10s %12s %8s %12s %11s %11s\n", "pattern", "pass", "ring s", "unmoved s", "ratio", "sent MiB", "peak MiB", "predicted");
  }
  bool meets_targets = true;
  for (const NamedProblem& named : make_problems(options)) {
    const auto schedule =
        std::make_shared<const Schedule>(named.problem, make_orders(named.problem.specification, options.tokens), options.num_ranks);
    if (num_mpi_ranks > 1) {
      meets_targets &= bench_rank(*make_mpi_transport(MPI_COMM_WORLD), named, schedule, options);
    } else {
      run_loopback(options.num_ranks, [&](Transport& transport) {
        if (!bench_rank(transport, named, schedule, options)) meets_targets = false;
      });
    }
  }
  return meets_targets || !options.require;
}

bool parse(int argc, char** argv, Options& options) {
  namespace po = boost::program_options;
  po::options_description description("ring_bench: cost of the ring against the same blocks without moving anything");
  description.add_options()("help", "this text")("ranks", po::value(&options.num_ranks), "loopback ranks; under mpirun its ranks")(
      "tokens", po::value(&options.tokens), "tokens N")("heads", po::value(&options.heads), "heads H")(
      "head-dim", po::value(&options.head_dim), "head dimension D")("threads", po::value(&options.threads), "threads per rank")(
      "repeats", po::value(&options.repeats), "timed repeats")("json", po::bool_switch(&options.json), "one JSON record per row")(
      "require", po::bool_switch(&options.require), "exit 1 if the ring costs more than 5 %");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, description), values);
  po::notify(values);
  if (values.count("help") > 0) std::cout << description;
  return values.count("help") == 0;
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int status = 0;
  try {
    hilbertring::Options options;
    if (hilbertring::parse(argc, argv, options) && !hilbertring::bench(options)) status = 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ring_bench: %s\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return status;
}

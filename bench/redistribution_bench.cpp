// Redistribution between slabs in sequence order and shards in curve order, against a plain memcpy of the same tensor by the same ranks in the same
// run. Loopback ranks, or MPI ranks when started by mpirun on more than one. Checked before timed.
#include <mpi.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/error.h"
#include "core/random.h"
#include "hilbert/order.h"
#include "ring/agreement.h"
#include "ring/loopback.h"
#include "ring/mpi_transport.h"
#include "ring/redistribution.h"

namespace hilbertring {
namespace {

struct Options {
  std::int64_t num_ranks = 4;
  std::int64_t mebibytes = 256;
  std::int64_t heads = 8;
  std::int64_t head_dim = 64;
  int threads = 1;
  int repeats = 9;
  bool json = false;

  std::int64_t row_bytes() const { return head_dim * size_bytes(ElementType::kFloat64); }
  std::int64_t num_tokens() const { return mebibytes * 1024 * 1024 / (heads * row_bytes()); }
};

struct Milliseconds {
  double median = 0, p95 = 0;
};

struct Times {
  std::string order;
  double moved_fraction = 0;  ///< of the tensor, that leaves its rank
  double setup_ms = 0;
  Milliseconds copy = {}, to_shard = {}, to_slab = {};
};

/// Wall time of `action` on the slowest rank, in milliseconds.
Milliseconds time_on_all(Transport& transport, int repeats, const std::function<void()>& action) {
  std::vector<double> ms;
  for (int i = 0; i <= repeats; ++i) {
    transport.barrier();
    const auto start = std::chrono::steady_clock::now();
    action();
    double elapsed = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    transport.all_reduce(std::span(&elapsed, 1), Reduction::kMax);
    if (i > 0) ms.push_back(elapsed);  // the first warms up
  }
  std::ranges::sort(ms);
  return {ms[ms.size() / 2], ms[std::min(ms.size() - 1, ms.size() * 95 / 100)]};
}

/// A rank's tensors. Entries are their own number in [N, heads, head_dim].
class Tensors {
 public:
  Tensors(const Options& options, Range<SequenceIndex> slab, std::int64_t num_local)
      : options_(options),
        slab_(slab),
        slab_bytes_(slab.size() * options.heads * options.row_bytes(), nullptr),
        returned_(slab_bytes_.size_bytes(), nullptr),
        shard_bytes_(num_local * options.heads * options.row_bytes(), nullptr),
        num_local_(num_local) {
    std::iota(entries(slab_bytes_).begin(), entries(slab_bytes_).end(), slab.begin.value * options.heads * options.head_dim);
    returned_.fill_zero();
    shard_bytes_.fill_zero();
  }

  std::span<const std::byte> slab() const { return slab_bytes_.bytes(); }
  std::span<std::byte> returned() const { return returned_.bytes(); }
  Tensor shard() const { return {shard_bytes_.data(), ElementType::kFloat64, 1, options_.heads, num_local_, options_.head_dim}; }

  void copy_slab() const { std::memcpy(returned_.data(), slab_bytes_.data(), static_cast<std::size_t>(slab_bytes_.size_bytes())); }
  void require_shard_of(std::span<const std::int64_t> rows) const;
  void require_returned_slab() const {
    if (std::memcmp(returned_.data(), slab_bytes_.data(), static_cast<std::size_t>(slab_bytes_.size_bytes())) != 0) {
      throw failure("to_slab did not bring back the slab of tokens " + std::to_string(slab_.begin.value) + " to " +
                    std::to_string(slab_.end.value - 1));
    }
  }

 private:
  static std::span<std::int64_t> entries(const Buffer& buffer) {
    return {reinterpret_cast<std::int64_t*>(buffer.data()), static_cast<std::size_t>(buffer.size_bytes()) / 8};
  }

  const Options& options_;
  Range<SequenceIndex> slab_;
  Buffer slab_bytes_, returned_, shard_bytes_;
  std::int64_t num_local_;
};

void Tensors::require_shard_of(std::span<const std::int64_t> rows) const {
  std::size_t i = 0;
  for (std::int64_t h = 0; h < options_.heads; ++h) {
    for (const std::int64_t token : rows) {
      for (std::int64_t d = 0; d < options_.head_dim; ++d, ++i) {
        const std::int64_t expected = (token * options_.heads + h) * options_.head_dim + d;
        if (entries(shard_bytes_)[i] != expected) {
          throw failure("to_shard: token " + std::to_string(token) + ", head " + std::to_string(h) + ", column " + std::to_string(d) + " is entry " +
                        std::to_string(entries(shard_bytes_)[i]) + ", not " + std::to_string(expected));
        }
      }
    }
  }
}

Times measure(Transport& transport, const Options& options, const std::string& name, std::span<const std::int64_t> rows) {
  Times times{.order = name};
  const auto start = std::chrono::steady_clock::now();
  const Redistribution redistribution(transport, options.num_tokens(), rows, nullptr, options.threads);
  times.setup_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  const Tensors tensors(options, redistribution.slab(), redistribution.num_local_rows());

  redistribution.to_shard(tensors.slab(), tensors.shard());
  redistribution.to_slab(tensors.shard(), tensors.returned());
  agree(transport, [&] {
    tensors.require_shard_of(rows);
    tensors.require_returned_slab();
  });

  times.copy = time_on_all(transport, options.repeats, [&] { tensors.copy_slab(); });
  times.to_shard = time_on_all(transport, options.repeats, [&] { redistribution.to_shard(tensors.slab(), tensors.shard()); });
  times.to_slab = time_on_all(transport, options.repeats, [&] { redistribution.to_slab(tensors.shard(), tensors.returned()); });

  auto moved = static_cast<double>(redistribution.sent_bytes(Direction::kToShard, 1, options.heads, options.row_bytes()));
  transport.all_reduce(std::span(&moved, 1), Reduction::kSum);
  times.moved_fraction = moved / static_cast<double>(options.num_tokens() * options.heads * options.row_bytes());
  return times;
}

/// This rank's rows of the orders by name: what it asks for.
std::vector<std::pair<std::string, std::vector<std::int64_t>>> rows_by_order(const Options& options, const Transport& transport) {
  const std::int64_t n = options.num_tokens();
  const auto mine = sequence_slab(n, transport.num_ranks(), transport.rank());
  const Range<Position> positions{Position(mine.begin.value), Position(mine.end.value)};

  std::vector<std::int64_t> identity(static_cast<std::size_t>(mine.size()));
  std::iota(identity.begin(), identity.end(), mine.begin.value);
  Specification specification;
  std::vector<std::int64_t> hilbert(identity.size());
  make_order(specification, n)->fill(positions, hilbert);
  std::vector<std::int64_t> shuffled(static_cast<std::size_t>(n));
  std::iota(shuffled.begin(), shuffled.end(), 0);
  for (std::size_t i = shuffled.size(); i > 1; --i) std::swap(shuffled[i - 1], shuffled[random_bits(0, 0, i) % i]);
  std::vector<std::int64_t> random(shuffled.begin() + mine.begin.value, shuffled.begin() + mine.end.value);
  return {{"identity", std::move(identity)}, {"hilbert", std::move(hilbert)}, {"random", std::move(random)}};
}

void print(const Options& options, const Transport& transport, const std::vector<Times>& rows) {
  std::printf(
      "redistribution of %lld MiB, [1, %lld, %lld, %lld] float64, %lld %s ranks, %d threads each, %d repeats, slowest rank; memcpy by all ranks at "
      "once\n",
      static_cast<long long>(options.mebibytes), static_cast<long long>(options.num_tokens()), static_cast<long long>(options.heads),
      static_cast<long long>(options.head_dim), static_cast<long long>(transport.num_ranks()), transport.name().c_str(), options.threads,
      options.repeats);
  std::printf("%-10s %8s %9s %11s %12s %8s %12s %8s %14s %14s\n", "order", "moved", "setup ms", "memcpy ms", "to_shard ms", "p95 ms", "to_slab ms",
              "p95 ms", "memcpy/to_shard", "memcpy/to_slab");
  for (const Times& t : rows) {
    std::printf("%-10s %7.0f%% %9.1f %11.1f %12.1f %8.1f %12.1f %8.1f %15.2f %14.2f\n", t.order.c_str(), 100 * t.moved_fraction, t.setup_ms,
                t.copy.median, t.to_shard.median, t.to_shard.p95, t.to_slab.median, t.to_slab.p95, t.copy.median / t.to_shard.median,
                t.copy.median / t.to_slab.median);
  }
}

nlohmann::ordered_json record(const Options& options, const Transport& transport, const Times& times) {
  return {{"benchmark", "redistribution"},
          {"transport", transport.name()},
          {"ranks", transport.num_ranks()},
          {"threads", options.threads},
          {"bytes", options.num_tokens() * options.heads * options.row_bytes()},
          {"order", times.order},
          {"moved_fraction", times.moved_fraction},
          {"repeats", options.repeats},
          {"checked", true},
          {"setup_ms", times.setup_ms},
          {"memcpy_median_ms", times.copy.median},
          {"to_shard_median_ms", times.to_shard.median},
          {"to_shard_p95_ms", times.to_shard.p95},
          {"to_slab_median_ms", times.to_slab.median},
          {"to_slab_p95_ms", times.to_slab.p95}};
}

void run(Transport& transport, const Options& options) {
  std::vector<Times> rows;
  for (const auto& [name, tokens] : rows_by_order(options, transport)) rows.push_back(measure(transport, options, name, tokens));
  if (transport.rank() != Rank(0)) return;
  print(options, transport, rows);
  if (!options.json) return;
  for (const Times& times : rows) std::printf("%s\n", record(options, transport, times).dump().c_str());
}

/// Returns false when only help was asked for.
bool parse(int argc, char** argv, Options& options) {
  namespace po = boost::program_options;
  po::options_description description("redistribution_bench: slabs to shards and back, checked first");
  auto add = description.add_options();
  add("help", "this text");
  add("ranks", po::value(&options.num_ranks)->default_value(options.num_ranks), "loopback ranks (under mpirun: its ranks)");
  add("mebibytes", po::value(&options.mebibytes)->default_value(options.mebibytes), "size of the whole tensor");
  add("heads", po::value(&options.heads)->default_value(options.heads), "heads");
  add("head-dim", po::value(&options.head_dim)->default_value(options.head_dim), "columns");
  add("threads", po::value(&options.threads)->default_value(options.threads), "packing threads per rank");
  add("repeats", po::value(&options.repeats)->default_value(options.repeats), "timed runs");
  add("json", po::bool_switch(&options.json), "print one JSON record per row after the table");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, description), values);
  po::notify(values);
  if (options.repeats < 1) throw usage_error("--repeats " + std::to_string(options.repeats) + " must be at least 1");
  if (values.count("help") != 0) std::cout << description << '\n';
  return values.count("help") == 0;
}

int run_main(int argc, char** argv) {
  try {
    Options options;
    if (!parse(argc, argv, options)) return 0;
    const auto mpi = make_mpi_transport(MPI_COMM_WORLD);
    if (mpi->num_ranks() > 1) {
      run(*mpi, options);
    } else {
      run_loopback(options.num_ranks, [&](Transport& transport) { run(transport, options); });
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redistribution_bench: %s\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const int status = hilbertring::run_main(argc, argv);
  if (status != 0) MPI_Abort(MPI_COMM_WORLD, status);  // the other ranks may wait for this one
  MPI_Finalize();
  return status;
}

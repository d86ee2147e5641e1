// Orders: time to write a whole order, to look up single tokens in both directions, and to find the hull of a shard. Checked before timed.
#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
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
#include "hilbert/order.h"

namespace hilbertring {
namespace {

constexpr std::uint64_t kNumSamples = 10000;
constexpr double kTargetSeconds = 0.5;  // for 16 million tokens

struct Options {
  std::int64_t num_tokens = 16'000'000;
  int repeats = 5;
  bool json = false;
};

struct NamedOrder {
  std::string name;
  std::shared_ptr<const Order> order;
};

struct Times {
  double fill_median_ms = 0, fill_p95_ms = 0;
  double sequence_index_ns = 0, position_ns = 0, hull_ns = 0;
};

Position sampled_position(const Order& order, std::uint64_t counter) {
  return Position(static_cast<std::int64_t>(random_bits(0, 0, counter) % static_cast<std::uint64_t>(order.num_tokens())));
}

template <class Action>
double seconds_of(Action&& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Nanoseconds of `action(position)`, on average over samples. What it returns is summed, so that it can't be left out.
template <class Action>
double mean_ns(const Order& order, Action&& action) {
  std::int64_t sum = 0;
  const double seconds = seconds_of([&] {
    for (std::uint64_t i = 0; i < kNumSamples; ++i) sum += action(sampled_position(order, i));
  });
  volatile std::int64_t sink = sum;
  static_cast<void>(sink);
  return seconds * 1e9 / static_cast<double>(kNumSamples);
}

/// Throws when the entries are no permutation, or differ from what single look-ups say.
void check(const NamedOrder& named, const std::vector<std::int64_t>& entries) {
  std::vector<bool> seen(entries.size(), false);
  for (const std::int64_t t : entries) {
    if (t < 0 || t >= named.order->num_tokens() || seen[static_cast<std::size_t>(t)]) {
      throw failure(named.name + ": sequence index " + std::to_string(t) + " occurs twice or is out of range");
    }
    seen[static_cast<std::size_t>(t)] = true;
  }
  for (std::uint64_t i = 0; i < kNumSamples; ++i) {
    const Position p = sampled_position(*named.order, i);
    const SequenceIndex t = named.order->sequence_index(p);
    if (entries[static_cast<std::size_t>(p.value)] != t.value || named.order->position(t) != p) {
      throw failure(named.name + ": position " + std::to_string(p.value) + ": fill, sequence_index and position disagree");
    }
  }
}

Times measure(const NamedOrder& named, int repeats) {
  const Order& order = *named.order;
  const Range<Position> all{Position(0), Position(order.num_tokens())};
  std::vector<std::int64_t> entries(static_cast<std::size_t>(order.num_tokens()));
  order.fill(all, entries);  // also touches the memory once
  check(named, entries);

  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) seconds.push_back(seconds_of([&] { order.fill(all, entries); }));
  std::ranges::sort(seconds);
  const auto p95 = std::min(seconds.size() - 1, seconds.size() * 95 / 100);

  Times times{seconds[seconds.size() / 2] * 1e3, seconds[p95] * 1e3};
  times.sequence_index_ns = mean_ns(order, [&](Position p) { return order.sequence_index(p).value; });
  times.position_ns = mean_ns(order, [&](Position p) { return order.position(SequenceIndex(p.value)).value; });
  times.hull_ns = mean_ns(order, [&](Position p) { return order.hull({p, all.end}).begin.value; });
  return times;
}

std::vector<NamedOrder> orders(std::int64_t num_tokens) {
  const auto on_curve = [&](Curve curve, std::vector<std::int64_t> grid, std::int64_t curve_chunk) {
    Specification specification;
    specification.curve = curve;
    specification.grid = std::move(grid);
    specification.curve_chunk = curve_chunk;
    return make_order(specification, num_tokens);
  };
  std::int64_t side = 1;
  while (side * side * side < num_tokens) ++side;
  return {{"hilbert", on_curve(Curve::kHilbert, {}, 0)},
          {"hilbert, odd sides", on_curve(Curve::kHilbert, {ceil_div(num_tokens, 4001), 4001}, 0)},
          {"hilbert, box", on_curve(Curve::kHilbert, {side, side, side}, 0)},
          {"hilbert, runs of 65536", on_curve(Curve::kHilbert, {}, 65536)},
          {"snake", on_curve(Curve::kSnake, {}, 0)},
          {"morton", on_curve(Curve::kMorton, {}, 0)}};
}

void print(const NamedOrder& named, const Times& times, const Options& options) {
  std::printf("%-24s %10.1f %10.1f %14.1f %16.0f %12.0f %10.0f\n", named.name.c_str(), times.fill_median_ms, times.fill_p95_ms,
              times.fill_median_ms * 1e6 / static_cast<double>(options.num_tokens), times.sequence_index_ns, times.position_ns, times.hull_ns);
}

nlohmann::ordered_json record(const NamedOrder& named, const Times& times, const Options& options) {
  return {{"benchmark", "order"},
          {"order", named.name},
          {"tokens", options.num_tokens},
          {"repeats", options.repeats},
          {"checked", true},
          {"fill_median_ms", times.fill_median_ms},
          {"fill_p95_ms", times.fill_p95_ms},
          {"sequence_index_ns", times.sequence_index_ns},
          {"position_ns", times.position_ns},
          {"hull_ns", times.hull_ns}};
}

void run(const Options& options) {
  std::printf("orders of %lld tokens, one core, %d repeats, %llu sampled look-ups; target: fill 16 million tokens in %.0f ms\n",
              static_cast<long long>(options.num_tokens), options.repeats, static_cast<unsigned long long>(kNumSamples), kTargetSeconds * 1e3);
  std::printf("%-24s %10s %10s %14s %16s %12s %10s\n", "order", "fill ms", "p95 ms", "fill ns/token", "seq. index ns", "position ns", "hull ns");
  std::vector<nlohmann::ordered_json> records;
  for (const NamedOrder& named : orders(options.num_tokens)) {
    const Times times = measure(named, options.repeats);
    print(named, times, options);
    records.push_back(record(named, times, options));
  }
  if (!options.json) return;
  for (const nlohmann::ordered_json& line : records) std::printf("%s\n", line.dump().c_str());
}

/// Returns false when only help was asked for.
bool parse(int argc, char** argv, Options& options) {
  namespace po = boost::program_options;
  po::options_description description("order_bench: time of orders, checked first");
  description.add_options()("help", "this text")("tokens", po::value(&options.num_tokens)->default_value(options.num_tokens),
                                                 "tokens of the sequence")("repeats", po::value(&options.repeats)->default_value(options.repeats),
                                                                           "timed runs")("json", po::bool_switch(&options.json),
                                                                                         "print one JSON record per row after the table");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, description), values);
  po::notify(values);
  if (options.repeats < 1) throw usage_error("--repeats " + std::to_string(options.repeats) + " must be at least 1");
  if (values.count("help") != 0) std::cout << description << '\n';
  return values.count("help") == 0;
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  try {
    hilbertring::Options options;
    if (hilbertring::parse(argc, argv, options)) hilbertring::run(options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "order_bench: %s\n", error.what());
    return 1;
  }
}

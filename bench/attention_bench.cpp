// CPU attention beside the SGEMM of OpenBLAS, in one run: results are checked against float64 before anything is timed.
#include <cblas.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cpu/cpu_attention.h"
#include "core/error.h"
#include "core/random.h"
#include "core/reference.h"

namespace hilbertring {
namespace {

constexpr int kSgemmSize = 2048;
constexpr double kSampleSeconds = 0.5;
constexpr std::int64_t kNumSampledRows = 6;
// A pair costs two multiply-adds per column forward, five backward (scores again, and one for each of dO V^T, dQ, dK, dV).
constexpr double kForwardFlopsPerColumn = 4;
constexpr double kBackwardFlopsPerColumn = 10;

struct Options {
  Shape shape{.batch = 1, .tokens = 8192, .heads = 8, .kv_heads = 8, .head_dim = 64};
  int repeats = 5;
  int num_threads = 1;
  bool require = false;
  std::string json_path;
};

/// One pattern in one type, with all its tensors: [B, H, N, D], rows in the order of positions.
class Problem {
 public:
  Problem(const Shape& shape, const Specification& specification, ElementType type, BlockAttention& attention)
      : pattern_(specification, shape), type_(type), attention_(attention) {
    for (std::size_t i = 0; i < inputs_.size(); ++i) inputs_[i] = random_tensor(static_cast<TensorId>(i));
    for (auto& result : results_) result.resize(static_cast<std::size_t>(num_elements()));
    for (auto* scalars : {&row_max_, &row_sum_, &delta_}) scalars->resize(static_cast<std::size_t>(num_elements() / shape.head_dim));
    reset_forward();
    run_forward();
    attention_.finish_forward(forward_operands());
    lse2_ = row_max_;
    finished_o_ = results_[0];
    attention_.dot_rows(scalar_view(delta_), input_view(TensorId::kDo), result_view(finished_o_));
  }

  std::int64_t num_pairs() const { return num_pairs_; }
  double columns() const { return static_cast<double>(pattern_.shape().head_dim); }

  /// Before a forward pass; not part of what is timed, nor is its twin.
  void reset_forward() {
    std::fill(row_max_.begin(), row_max_.end(), -std::numeric_limits<float>::infinity());
    std::fill(row_sum_.begin(), row_sum_.end(), 0.0F);
    std::fill(results_[0].begin(), results_[0].end(), 0.0F);
  }
  void run_forward() { num_pairs_ = attention_.forward(pattern_, forward_operands(), pairs_); }

  void reset_backward() {
    for (std::size_t i = 1; i < results_.size(); ++i) std::fill(results_[i].begin(), results_[i].end(), 0.0F);
  }
  void run_backward() { attention_.backward(pattern_, backward_operands(), pairs_); }

  /// Largest error of sampled rows of o, dq, dk, dv, as a multiple of what rounding may cost; NaN never passes.
  double worst_miss() {
    reset_backward();
    run_backward();
    const ReferenceInputs inputs = reference_inputs();
    const auto lse = [&](std::int64_t, std::int64_t head, SequenceIndex t) { return double{lse2_[scalar_index(head, t)]} * std::log(2.0); };
    const auto delta = [&](std::int64_t, std::int64_t head, SequenceIndex t) { return double{delta_[scalar_index(head, t)]}; };
    double worst = 0;
    for (std::int64_t i = 0; i < kNumSampledRows; ++i) {
      const SequenceIndex token(
          static_cast<std::int64_t>(random_bits(1, 0, static_cast<std::uint64_t>(i)) % static_cast<std::uint64_t>(pattern_.shape().tokens)));
      const std::int64_t head = i % pattern_.shape().heads;
      const ReferenceQueryRow query = reference_query_row(inputs, 0, head, token);
      const ReferenceKeyRow key = reference_key_row(inputs, 0, head, token, lse, delta);
      worst = larger(worst, row_miss(finished_o_, head, token, query.o, query.o_abs, query.max_abs_score));
      worst = larger(worst, row_miss(results_[1], head, token, query.dq, query.dq_abs, query.max_abs_score));
      worst = larger(worst, row_miss(results_[2], head, token, key.dk, key.dk_abs, key.max_abs_score));
      worst = larger(worst, row_miss(results_[3], head, token, key.dv, key.dv_abs, key.max_abs_score));
    }
    return worst;
  }

 private:
  static double larger(double a, double b) { return b <= a ? a : b; }
  const Shape& shape() const { return pattern_.shape(); }
  std::int64_t num_elements() const { return shape().heads * shape().tokens * shape().head_dim; }
  std::size_t scalar_index(std::int64_t head, SequenceIndex t) const { return static_cast<std::size_t>(head * shape().tokens + t.value); }

  std::vector<std::byte> random_tensor(TensorId id) const {
    std::vector<std::byte> data(static_cast<std::size_t>(num_elements() * size_bytes(type_)));
    for (std::int64_t i = 0; i < num_elements(); ++i) store_element(data.data(), type_, i, normal_at(1, id, i));
    return data;
  }
  ConstTensor input_view(TensorId id) const {
    return {inputs_[static_cast<std::size_t>(id)].data(), type_, 1, shape().heads, shape().tokens, shape().head_dim};
  }
  Tensor result_view(std::vector<float>& values) const {
    return {reinterpret_cast<std::byte*>(values.data()), ElementType::kFloat32, 1, shape().heads, shape().tokens, shape().head_dim};
  }
  Tensor scalar_view(std::vector<float>& values) const {
    return {reinterpret_cast<std::byte*>(values.data()), ElementType::kFloat32, 1, shape().heads, shape().tokens, 1};
  }
  double scale() const { return 1 / std::sqrt(columns()); }

  ForwardOperands forward_operands() {
    return {.q = input_view(TensorId::kQ),
            .k = input_view(TensorId::kK),
            .v = input_view(TensorId::kV),
            .times = {},
            .scale = scale(),
            .row_max = scalar_view(row_max_),
            .row_sum = scalar_view(row_sum_),
            .o = result_view(results_[0])};
  }
  BackwardOperands backward_operands() {
    return {.q = input_view(TensorId::kQ),
            .d_o = input_view(TensorId::kDo),
            .k = input_view(TensorId::kK),
            .v = input_view(TensorId::kV),
            .lse2 = scalar_view(lse2_),
            .delta = scalar_view(delta_),
            .times = {},
            .scale = scale(),
            .dq = result_view(results_[1]),
            .dk = result_view(results_[2]),
            .dv = result_view(results_[3])};
  }

  RowReader reader(TensorId id) const {
    return [this, id](std::int64_t, std::int64_t head, SequenceIndex token, std::span<double> row) {
      const std::int64_t first = (head * shape().tokens + token.value) * shape().head_dim;
      for (std::size_t d = 0; d < row.size(); ++d) {
        row[d] = load_element(inputs_[static_cast<std::size_t>(id)].data(), type_, first + static_cast<std::int64_t>(d));
      }
    };
  }
  ReferenceInputs reference_inputs() const {
    const auto to_index = [](Position p) { return SequenceIndex(p.value); };
    const auto to_position = [](SequenceIndex t) { return Position(t.value); };
    return {.pattern = &pattern_,
            .order = {to_index, to_index, to_position, to_position},
            .scale = scale(),
            .q = reader(TensorId::kQ),
            .k = reader(TensorId::kK),
            .v = reader(TensorId::kV),
            .d_o = reader(TensorId::kDo)};
  }
  double row_miss(const std::vector<float>& result, std::int64_t head, SequenceIndex token, const std::vector<double>& exact,
                  const std::vector<double>& magnitude, double max_abs_score) const {
    double worst = 0;
    for (std::size_t d = 0; d < exact.size(); ++d) {
      const double value = double{result[scalar_index(head, token) * exact.size() + d]};
      const double bound = unit_roundoff(ElementType::kFloat32) * 16 * (1 + max_abs_score) * magnitude[d];
      // Nothing is summed in a row that takes no part: value and bound are 0.
      worst = larger(worst, value == exact[d] ? 0 : std::abs(value - exact[d]) / bound);
    }
    return worst;
  }

  Pattern pattern_;
  ElementType type_;
  BlockAttention& attention_;
  std::vector<ChunkPair> pairs_ = {{whole(), whole()}};
  std::array<std::vector<std::byte>, 4> inputs_;  ///< by TensorId
  std::array<std::vector<float>, 4> results_;     ///< o (not normalised), dq, dk, dv
  std::vector<float> row_max_, row_sum_, lse2_, delta_, finished_o_;
  std::int64_t num_pairs_ = 0;

  ChunkRows whole() const { return {{Position(0), Position(shape().tokens)}, LocalRow(0)}; }
};

/// One line of the table.
struct Row {
  std::string name;
  double flops = 0;
  std::function<void()> prepare, run;
  std::string compared_with;  ///< name of another row
  double target_ratio = 0;    ///< to that row's rate; 0: none
  std::vector<double> seconds = {};

  double median() const { return quantile(0.5); }
  double p95() const { return quantile(0.95); }
  double gflops() const { return flops / median() * 1e-9; }

 private:
  double quantile(double fraction) const {
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[static_cast<std::size_t>(std::lround(fraction * static_cast<double>(sorted.size() - 1)))];
  }
};

/// Seconds of one call, on average over `num_calls`. Calls pile up in the state, which changes numbers but not work.
double seconds_per_call(const Row& row, std::int64_t num_calls) {
  row.prepare();
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < num_calls; ++i) row.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(num_calls);
}

/// All rows in turn, `repeats` times after a warm-up, with samples of about the same length: what else the machine does meets all of them alike.
void time_rows(std::vector<Row>& rows, int repeats) {
  std::vector<std::int64_t> num_calls;
  for (const Row& row : rows) num_calls.push_back(static_cast<std::int64_t>(std::ceil(kSampleSeconds / seconds_per_call(row, 1))));
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      // Threads of the library that ran before spin for a while when they are done.
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      rows[i].seconds.push_back(seconds_per_call(rows[i], num_calls[i]));
    }
  }
}

std::function<void()> sgemm() {
  const auto count = static_cast<std::size_t>(kSgemmSize) * kSgemmSize;
  auto a = std::make_shared<std::vector<float>>(count, 0.5F);
  auto b = std::make_shared<std::vector<float>>(count, 0.25F);
  auto c = std::make_shared<std::vector<float>>(count);
  return [a, b, c] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSgemmSize, kSgemmSize, kSgemmSize, 1.0F, a->data(), kSgemmSize, b->data(), kSgemmSize,
                0.0F, c->data(), kSgemmSize);
  };
}

struct NamedProblem {
  std::string name;
  std::unique_ptr<Problem> problem;
};

std::vector<NamedProblem> make_problems(const Options& options, BlockAttention& attention) {
  const std::int64_t n = options.shape.tokens;
  const Specification dense{.segment_lengths = {n}, .dilation_rates = {1}};
  Specification causal = dense;
  causal.causal = Causal::kPosition;
  const Specification longnet{.segment_lengths = {512, 2048, 8192}, .dilation_rates = {1, 4, 16}};
  std::vector<NamedProblem> problems;
  const auto add = [&](const char* name, const Specification& specification, ElementType type) {
    problems.push_back({name, std::make_unique<Problem>(options.shape, specification, type, attention)});
  };
  add("dense", dense, ElementType::kFloat32);
  add("causal", causal, ElementType::kFloat32);
  add("longnet", longnet, ElementType::kFloat32);
  add("dense bfloat16", dense, ElementType::kBfloat16);
  return problems;
}

/// Issue 2 asks for these ratios: forward 50 %, backward 40 % of SGEMM; LongNet 80 % of dense.
std::vector<Row> make_rows(std::vector<NamedProblem>& problems) {
  std::vector<Row> rows;
  rows.push_back({.name = "sgemm 2048", .flops = 2 * std::pow(kSgemmSize, 3), .prepare = [] {}, .run = sgemm(), .compared_with = "sgemm 2048"});
  for (NamedProblem& named : problems) {
    Problem* problem = named.problem.get();
    const double column_pairs = static_cast<double>(problem->num_pairs()) * problem->columns();
    const bool is_dense = named.name == "dense";
    const bool is_longnet = named.name == "longnet";
    rows.push_back({.name = named.name + " forward",
                    .flops = kForwardFlopsPerColumn * column_pairs,
                    .prepare = [problem] { problem->reset_forward(); },
                    .run = [problem] { problem->run_forward(); },
                    .compared_with = is_dense ? "sgemm 2048" : "dense forward",
                    .target_ratio = is_dense     ? 0.5
                                    : is_longnet ? 0.8
                                                 : 0});
    rows.push_back({.name = named.name + " backward",
                    .flops = kBackwardFlopsPerColumn * column_pairs,
                    .prepare = [problem] { problem->reset_backward(); },
                    .run = [problem] { problem->run_backward(); },
                    .compared_with = is_dense ? "sgemm 2048" : "dense backward",
                    .target_ratio = is_dense     ? 0.4
                                    : is_longnet ? 0.8
                                                 : 0});
  }
  return rows;
}

const Row& find_row(const std::vector<Row>& rows, const std::string& name) {
  return *std::find_if(rows.begin(), rows.end(), [&](const Row& row) { return row.name == name; });
}

/// Prints the table, writes the records; returns whether every target is met.
bool report(const std::vector<Row>& rows, const Options& options, const std::string& device) {
  std::ofstream json;
  if (!options.json_path.empty()) {
    json.open(options.json_path);
    if (!json) throw usage_error("can't write '" + options.json_path + "'");
  }
  bool all_met = true;
  std::printf("%-24s %10s %10s %9s %9s   %s\n", "", "median ms", "p95 ms", "GFLOP/s", "of SGEMM", "target");
  for (const Row& row : rows) {
    const double of_sgemm = row.gflops() / rows.front().gflops();
    const double ratio = row.gflops() / find_row(rows, row.compared_with).gflops();
    const bool met = row.target_ratio == 0 || ratio >= row.target_ratio;
    all_met = all_met && met;
    std::printf("%-24s %10.1f %10.1f %9.1f %8.0f%%   ", row.name.c_str(), row.median() * 1e3, row.p95() * 1e3, row.gflops(), of_sgemm * 100);
    if (row.target_ratio > 0) {
      std::printf("%.0f%% of %s: %.0f%%, %s", row.target_ratio * 100, row.compared_with.c_str(), ratio * 100, met ? "met" : "MISSED");
    } else if (row.compared_with != row.name) {
      std::printf("(%.0f%% of %s)", ratio * 100, row.compared_with.c_str());
    }
    std::printf("\n");
    const nlohmann::json record = {{"benchmark", "attention"},
                                   {"name", row.name},
                                   {"device", device},
                                   {"openblas_core", openblas_get_corename()},
                                   {"shape", to_string(options.shape)},
                                   {"threads", options.num_threads},
                                   {"repeats", options.repeats},
                                   {"median_ms", row.median() * 1e3},
                                   {"p95_ms", row.p95() * 1e3},
                                   {"gflops", row.gflops()},
                                   {"of_sgemm", of_sgemm},
                                   {"compared_with", row.compared_with},
                                   {"ratio", ratio},
                                   {"target_ratio", row.target_ratio},
                                   {"met", met}};
    if (json.is_open()) json << record.dump() << "\n";
  }
  return all_met;
}

int run(const Options& options) {
  const auto attention = make_cpu_attention(options.num_threads);
  openblas_set_num_threads(options.num_threads);
  std::printf("%s; OpenBLAS for %s; %s; %d repeats\n", attention->description().c_str(), openblas_get_corename(), to_string(options.shape).c_str(),
              options.repeats);
  std::vector<NamedProblem> problems = make_problems(options, *attention);
  for (NamedProblem& named : problems) {
    const double miss = named.problem->worst_miss();
    std::printf("check %-16s worst error %.3f of its bound, %lld allowed pairs\n", named.name.c_str(), miss,
                static_cast<long long>(named.problem->num_pairs()));
    if (!(miss <= 1)) {
      std::printf("the results are wrong: nothing is timed\n");
      return 1;
    }
  }
  std::vector<Row> rows = make_rows(problems);
  time_rows(rows, options.repeats);
  const bool all_met = report(rows, options, attention->description());
  return options.require && !all_met ? 1 : 0;
}

Options parse(int argc, char** argv) {
  namespace po = boost::program_options;
  Options options;
  po::options_description description("attention_bench");
  description.add_options()("help", "this text")                                                                            //
      ("tokens", po::value(&options.shape.tokens)->default_value(options.shape.tokens), "N")                                //
      ("heads", po::value(&options.shape.heads)->default_value(options.shape.heads), "H, as many KV heads")                 //
      ("head-dim", po::value(&options.shape.head_dim)->default_value(options.shape.head_dim), "D")                          //
      ("threads", po::value(&options.num_threads)->default_value(omp_get_max_threads()), "of the kernels and of OpenBLAS")  //
      ("repeats", po::value(&options.repeats)->default_value(options.repeats), "timed runs per row, after one to warm up")  //
      ("json", po::value(&options.json_path), "file for one JSON record per row")                                           //
      ("require", po::bool_switch(&options.require), "exit with 1 when a target is missed");
  po::variables_map values;
  po::store(po::parse_command_line(argc, argv, description), values);
  po::notify(values);
  if (values.count("help") > 0) {
    std::puts((std::ostringstream() << description).str().c_str());
    std::exit(0);
  }
  options.shape.kv_heads = options.shape.heads;
  options.shape.validate();
  if (options.repeats < 1) throw usage_error("repeats is " + std::to_string(options.repeats) + ", but must be at least 1");
  return options;
}

/// OpenBLAS takes processors that are younger than itself for the oldest ones and is then four times too slow to be compared with: start again, with
/// its kernels for the instruction set that ours use. A choice of the user stays.
void make_openblas_use(const std::string& instruction_set, char** argv) {
  constexpr const char* kVariable = "OPENBLAS_CORETYPE";
  const std::string core = openblas_get_corename();
  if (core != "Prescott" || std::getenv(kVariable) != nullptr) return;
  if (instruction_set != "AVX3" && instruction_set != "AVX2") return;
  setenv(kVariable, instruction_set == "AVX3" ? "SkylakeX" : "Haswell", 1);
  execv("/proc/self/exe", argv);
  throw failure("can't start again with " + std::string(kVariable) + " set: OpenBLAS would be compared at the speed of its oldest kernels");
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  try {
    hilbertring::make_openblas_use(hilbertring::cpu_instruction_set(), argv);
    return hilbertring::run(hilbertring::parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attention_bench: %s\n", error.what());
    return 2;
  }
}

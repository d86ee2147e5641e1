// CUDA attention alone: sampled rows are checked against float64, then the kernels are timed. Rates count allowed pairs only.
#include <omp.h>

#include <algorithm>
#include <array>
#include <boost/program_options.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/cuda/cuda_attention.h"
#include "core/cuda/device.h"
#include "core/cuda/kernels.h"
#include "core/error.h"
#include "core/random.h"
#include "core/reference.h"

namespace hilbertring {
namespace {

constexpr std::int64_t kNumSampledRows = 4;
constexpr int kCallsPerSample = 4;
constexpr int kLongestSeconds = 3600;
// A pair costs two multiply-adds per column forward, five backward (scores again, and one for each of dO V^T, dQ, dK, dV).
constexpr double kForwardFlopsPerColumn = 4;
constexpr double kBackwardFlopsPerColumn = 10;
/// Inputs repeat after so many elements: a prime, so that no two rows are equal.
constexpr std::int64_t kPoolSize = 16'777'213;

struct Options {
  int repeats = 7;
  double rest_seconds = 0.5, sustain_seconds = 0;
  std::string only;
  std::string json_path;
  std::int64_t score_gradient_bytes = kScoreGradientBytes;
};

struct Setting {
  std::string name;
  Shape shape;
  Specification specification;
  ElementType type;
  std::int64_t chunk;
  bool in_steps = false;  ///< a call for each step of a ring, which loads and stores the state; else one for all
};

/// Largest relative error (norm of the difference over the norm of the row) that passes: rounded factors cost a few units of their type.
double tolerance(ElementType type) { return type == ElementType::kFloat32 || type == ElementType::kFloat64 ? 1e-5 : 4 * unit_roundoff(type); }

const std::vector<float>& pool(TensorId id) {
  static std::array<std::vector<float>, 4> pools;
  std::vector<float>& values = pools[static_cast<std::size_t>(id)];
  if (values.empty()) {
    values.resize(static_cast<std::size_t>(kPoolSize));
#pragma omp parallel for
    for (std::int64_t i = 0; i < kPoolSize; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(normal_at(1, id, i));
  }
  return values;
}

/// One setting with all its tensors on the device: [B, H, N, D], rows in the order of positions; times are positions.
class Problem {
 public:
  Problem(const Setting& setting, cudaStream_t stream, std::int64_t score_gradient_bytes)
      : setting_(setting),
        pattern_(setting.specification, setting.shape),
        stream_(stream),
        attention_(make_cuda_attention(stream, meter_, score_gradient_bytes)) {
    const ElementType real = arithmetic_type(setting_.type);
    for (const TensorId id : {TensorId::kQ, TensorId::kK, TensorId::kV, TensorId::kDo}) inputs_[index(id)] = upload(id);
    for (Buffer& result : results_) result = make_device_buffer(num_elements() * size_bytes(real), meter_);
    for (Buffer& scalar : scalars_) scalar = make_device_buffer(num_elements() / shape().head_dim * size_bytes(real), meter_);
    std::vector<std::int64_t> times(static_cast<std::size_t>(shape().tokens));
    std::iota(times.begin(), times.end(), 0);
    times_ = make_device_buffer(static_cast<std::int64_t>(times.size() * sizeof(std::int64_t)), meter_);
    check(cudaMemcpy(times_.data(), times.data(), times.size() * sizeof(std::int64_t), cudaMemcpyHostToDevice));
    calls_.resize(setting_.in_steps ? static_cast<std::size_t>(num_chunks()) : 1);
    for (std::int64_t query = 0; query < num_chunks(); ++query) {
      for (std::int64_t step = 0; step < num_chunks(); ++step) {
        calls_[static_cast<std::size_t>(step) % calls_.size()].push_back({chunk(query), chunk((query - step + num_chunks()) % num_chunks())});
      }
    }
  }

  const Setting& setting() const { return setting_; }
  const Shape& shape() const { return setting_.shape; }
  std::int64_t num_pairs() const { return num_pairs_; }
  std::int64_t memory_bytes() const { return meter_->peak_bytes(); }

  /// From a clean state: rows without a maximum do not read what they hold.
  std::int64_t run_forward() {
    std::int64_t num_pairs = 0;
    launch_fill(scalar_view(kRowMax), -std::numeric_limits<double>::infinity(), stream_);
    for (const auto& pairs : calls_) num_pairs += attention_->forward(pattern_, forward_operands(), pairs);
    return num_pairs;
  }
  void run_backward() {
    for (const auto& pairs : calls_) attention_->backward(pattern_, backward_operands(), pairs);
  }

  /// Forward and backward once, from a clean state; largest relative error of sampled rows of o, dq, dk, dv. NaN comes out as NaN.
  double worst_error() {
    for (Buffer* buffer : {&scalars_[kRowSum], &results_[kO], &results_[kDq], &results_[kDk], &results_[kDv]}) fill(*buffer, 0);
    // Copies from ordinary host memory may return before they have arrived, and the kernels' stream does not wait for the default one.
    check(cudaDeviceSynchronize());
    num_pairs_ = run_forward();
    num_pairs_ += attention_->take_uncounted_pairs();
    attention_->finish_forward(forward_operands());
    check(cudaMemcpyAsync(scalars_[kLse2].data(), scalars_[kRowMax].data(), static_cast<std::size_t>(scalars_[kLse2].size_bytes()),
                          cudaMemcpyDeviceToDevice, stream_));
    attention_->dot_rows(scalar_view(kDelta), input_view(TensorId::kDo), result_view(kO));
    run_backward();
    check(cudaStreamSynchronize(stream_));
    lse2_ = download(scalars_[kLse2]);
    delta_ = download(scalars_[kDelta]);
    double worst = 0;
    for (std::int64_t i = 0; i < kNumSampledRows; ++i) {
      const auto seed = static_cast<std::uint64_t>(i);
      const SequenceIndex token(static_cast<std::int64_t>(random_bits(1, 0, seed) % static_cast<std::uint64_t>(shape().tokens)));
      worst = larger(worst, error_of_row(i % shape().heads, token));
    }
    return worst;
  }

 private:
  enum Result { kO, kDq, kDk, kDv };
  enum Scalar { kRowMax, kRowSum, kLse2, kDelta };
  static constexpr std::size_t index(TensorId id) { return static_cast<std::size_t>(id); }
  static double larger(double a, double b) { return b <= a ? a : b; }

  std::int64_t num_chunks() const { return ceil_div(shape().tokens, setting_.chunk); }
  ChunkRows chunk(std::int64_t i) const {
    const std::int64_t begin = i * setting_.chunk;
    return {{Position(begin), Position(std::min(begin + setting_.chunk, shape().tokens))}, LocalRow(begin)};
  }
  std::int64_t num_elements() const { return shape().heads * shape().tokens * shape().head_dim; }
  double scale() const { return 1 / std::sqrt(static_cast<double>(shape().head_dim)); }

  Buffer upload(TensorId id) const {
    std::vector<std::byte> data(static_cast<std::size_t>(num_elements() * size_bytes(setting_.type)));
    const std::vector<float>& values = pool(id);
#pragma omp parallel for
    for (std::int64_t i = 0; i < num_elements(); ++i) {
      store_element(data.data(), setting_.type, i, static_cast<double>(values[static_cast<std::size_t>(i % kPoolSize)]));
    }
    Buffer buffer = make_device_buffer(static_cast<std::int64_t>(data.size()), meter_);
    check(cudaMemcpy(buffer.data(), data.data(), data.size(), cudaMemcpyHostToDevice));
    return buffer;
  }
  static void fill(const Buffer& buffer, float value) {
    const std::vector<float> values(static_cast<std::size_t>(buffer.size_bytes()) / sizeof(float), value);
    check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice));
  }
  static std::vector<float> download(const Buffer& buffer) {
    std::vector<float> values(static_cast<std::size_t>(buffer.size_bytes()) / sizeof(float));
    check(cudaMemcpy(values.data(), buffer.data(), values.size() * sizeof(float), cudaMemcpyDeviceToHost));
    return values;
  }

  ConstTensor input_view(TensorId id) const { return {inputs_[index(id)].data(), setting_.type, 1, shape().heads, shape().tokens, shape().head_dim}; }
  Tensor result_view(Result result) const {
    return {results_[result].data(), ElementType::kFloat32, 1, shape().heads, shape().tokens, shape().head_dim};
  }
  Tensor scalar_view(Scalar scalar) const { return {scalars_[scalar].data(), ElementType::kFloat32, 1, shape().heads, shape().tokens, 1}; }
  Times times() const {
    const std::span<const std::int64_t> all{reinterpret_cast<const std::int64_t*>(times_.data()), static_cast<std::size_t>(shape().tokens)};
    return {all, all};
  }
  ForwardOperands forward_operands() const {
    return {.q = input_view(TensorId::kQ),
            .k = input_view(TensorId::kK),
            .v = input_view(TensorId::kV),
            .times = times(),
            .scale = scale(),
            .row_max = scalar_view(kRowMax),
            .row_sum = scalar_view(kRowSum),
            .o = result_view(kO)};
  }
  BackwardOperands backward_operands() const {
    return {.q = input_view(TensorId::kQ),
            .d_o = input_view(TensorId::kDo),
            .k = input_view(TensorId::kK),
            .v = input_view(TensorId::kV),
            .lse2 = scalar_view(kLse2),
            .delta = scalar_view(kDelta),
            .times = times(),
            .scale = scale(),
            .dq = result_view(kDq),
            .dk = result_view(kDk),
            .dv = result_view(kDv)};
  }

  std::size_t row_index(std::int64_t head, SequenceIndex token) const { return static_cast<std::size_t>(head * shape().tokens + token.value); }
  /// The input as the device has it: rounded to its type.
  RowReader reader(TensorId id) const {
    return [this, id](std::int64_t, std::int64_t head, SequenceIndex token, std::span<double> row) {
      const std::int64_t first = static_cast<std::int64_t>(row_index(head, token)) * shape().head_dim;
      for (std::size_t d = 0; d < row.size(); ++d) {
        std::array<std::byte, sizeof(double)> element{};
        store_element(element.data(), setting_.type, 0,
                      static_cast<double>(pool(id)[static_cast<std::size_t>((first + static_cast<std::int64_t>(d)) % kPoolSize)]));
        row[d] = load_element(element.data(), setting_.type, 0);
      }
    };
  }

  double error_of_row(std::int64_t head, SequenceIndex token) const {
    const auto to_index = [](Position p) { return SequenceIndex(p.value); };
    const auto to_position = [](SequenceIndex t) { return Position(t.value); };
    const ReferenceInputs inputs{.pattern = &pattern_,
                                 .order = {to_index, to_index, to_position, to_position},
                                 .scale = scale(),
                                 .q = reader(TensorId::kQ),
                                 .k = reader(TensorId::kK),
                                 .v = reader(TensorId::kV),
                                 .d_o = reader(TensorId::kDo)};
    const auto lse = [&](std::int64_t, std::int64_t h, SequenceIndex t) { return double{lse2_[row_index(h, t)]} * std::log(2.0); };
    const auto delta = [&](std::int64_t, std::int64_t h, SequenceIndex t) { return double{delta_[row_index(h, t)]}; };
    const ReferenceQueryRow query = reference_query_row(inputs, 0, head, token);
    const ReferenceKeyRow key = reference_key_row(inputs, 0, head, token, lse, delta);
    double worst = 0;
    worst = larger(worst, relative_error(kO, head, token, query.o));
    worst = larger(worst, relative_error(kDq, head, token, query.dq));
    worst = larger(worst, relative_error(kDk, head, token, key.dk));
    return larger(worst, relative_error(kDv, head, token, key.dv));
  }
  double relative_error(Result result, std::int64_t head, SequenceIndex token, const std::vector<double>& exact) const {
    std::vector<float> row(exact.size());
    const auto* from = reinterpret_cast<const float*>(results_[result].data()) + row_index(head, token) * exact.size();
    check(cudaMemcpy(row.data(), from, row.size() * sizeof(float), cudaMemcpyDeviceToHost));
    double difference = 0, norm = 0;
    for (std::size_t d = 0; d < exact.size(); ++d) {
      difference += std::pow(double{row[d]} - exact[d], 2);
      norm += std::pow(exact[d], 2);
    }
    return difference == 0 ? 0 : std::sqrt(difference / norm);
  }

  Setting setting_;
  Pattern pattern_;
  cudaStream_t stream_;
  std::shared_ptr<MemoryMeter> meter_ = std::make_shared<MemoryMeter>();
  std::unique_ptr<BlockAttention> attention_;
  std::array<Buffer, 4> inputs_;   ///< by TensorId
  std::array<Buffer, 4> results_;  ///< by Result
  std::array<Buffer, 4> scalars_;  ///< by Scalar
  Buffer times_;
  std::vector<std::vector<ChunkPair>> calls_;
  std::vector<float> lse2_, delta_;
  std::int64_t num_pairs_ = 0;
};

std::vector<Setting> make_settings() {
  const auto shape = [](std::int64_t tokens, std::int64_t head_dim) {
    const std::int64_t heads = head_dim == 64 ? 32 : 16;
    return Shape{.batch = 1, .tokens = tokens, .heads = heads, .kv_heads = heads, .head_dim = head_dim};
  };
  const auto dense = [](std::int64_t tokens, Causal causal) {
    return Specification{.segment_lengths = {tokens}, .dilation_rates = {1}, .causal = causal};
  };
  std::vector<Setting> settings;
  for (const std::int64_t head_dim : {64, 128}) {
    const std::string suffix = " D=" + std::to_string(head_dim);
    settings.push_back({"dense" + suffix, shape(16384, head_dim), dense(16384, Causal::kNone), ElementType::kBfloat16, 4096});
    settings.push_back({"causal" + suffix, shape(16384, head_dim), dense(16384, Causal::kPosition), ElementType::kBfloat16, 4096});
  }
  for (const bool in_steps : {false, true}) {
    const std::string name = in_steps ? "dense N=65536, 2 steps" : "dense N=65536";
    settings.push_back({name, shape(65536, 128), dense(65536, Causal::kNone), ElementType::kBfloat16, 32768, in_steps});
  }
  settings.push_back({"causal by time D=128", shape(16384, 128), dense(16384, Causal::kSequence), ElementType::kBfloat16, 4096});
  settings.push_back({"dense float16 D=256", shape(8192, 256), dense(8192, Causal::kNone), ElementType::kFloat16, 4096});
  settings.push_back({"dense float32 D=128", shape(4096, 128), dense(4096, Causal::kNone), ElementType::kFloat32, 4096});
  settings.push_back(
      {"longnet D=128", shape(131072, 128), {.segment_lengths = {2048, 8192, 32768}, .dilation_rates = {1, 4, 16}}, ElementType::kBfloat16, 8192});
  return settings;
}

/// Milliseconds of one call: several are handed in at once, so that the host prepares the next while the device works on the last. A GPU's clock
/// falls under load, and what was measured before counts too: after a rest, calls run for `sustain` before they are timed.
std::vector<double> time_calls(const std::function<void()>& call, cudaStream_t stream, const Options& options) {
  using Clock = std::chrono::steady_clock;
  Event begin(Event::Kind::kTimed), end(Event::Kind::kTimed);
  check(cudaStreamSynchronize(stream));
  std::this_thread::sleep_for(std::chrono::duration<double>(options.rest_seconds));
  const auto sustained = Clock::now() + std::chrono::duration<double>(options.sustain_seconds);
  do {
    call();
    check(cudaStreamSynchronize(stream));
  } while (Clock::now() < sustained);
  std::vector<double> samples;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    call();
    begin.record(stream);
    for (int i = 0; i < kCallsPerSample; ++i) call();
    end.record(stream);
    end.wait();
    samples.push_back(end.milliseconds_since(begin) / kCallsPerSample);
  }
  std::sort(samples.begin(), samples.end());
  return samples;
}

double quantile(const std::vector<double>& sorted, double fraction) {
  return sorted[static_cast<std::size_t>(std::lround(fraction * static_cast<double>(sorted.size() - 1)))];
}

nlohmann::json time_pass(const Problem& problem, const char* pass, double flops_per_column, const std::function<void()>& call, cudaStream_t stream,
                         const Options& options) {
  const std::vector<double> samples = time_calls(call, stream, options);
  const double flops = flops_per_column * static_cast<double>(problem.num_pairs()) * static_cast<double>(problem.shape().head_dim);
  const double tflops = flops / quantile(samples, 0.5) * 1e-9;
  std::printf("%-24s %-9s %10.3f %10.3f %10.1f\n", problem.setting().name.c_str(), pass, quantile(samples, 0.5), quantile(samples, 0.95), tflops);
  return {{"benchmark", "cuda"},
          {"name", problem.setting().name},
          {"pass", pass},
          {"device", cuda_device_description()},
          {"shape", to_string(problem.shape())},
          {"type", std::string(to_string(problem.setting().type))},
          {"specification", to_json(problem.setting().specification)},
          {"chunk", problem.setting().chunk},
          {"in_steps", problem.setting().in_steps},
          {"allowed_pairs", problem.num_pairs()},
          {"repeats", options.repeats},
          {"median_ms", quantile(samples, 0.5)},
          {"p95_ms", quantile(samples, 0.95)},
          {"tflops", tflops}};
}

/// Returns whether every check passed.
bool run(const Options& options) {
  use_cuda_device(0);
  std::ofstream json;
  if (!options.json_path.empty()) {
    json.open(options.json_path);
    if (!json) throw usage_error("can't write '" + options.json_path + "'");
  }
  std::printf("%s, %d samples of %d calls\n", cuda_device_description().c_str(), options.repeats, kCallsPerSample);
  std::printf("%-24s %-9s %10s %10s %10s\n", "", "pass", "median ms", "p95 ms", "TFLOP/s");
  const Stream stream;
  bool all_right = true;
  for (const Setting& setting : make_settings()) {
    if (setting.name.find(options.only) == std::string::npos) continue;
    Problem problem(setting, stream.get(), options.score_gradient_bytes);
    const double error = problem.worst_error();
    const bool is_right = error <= tolerance(setting.type);
    std::printf("%-24s error of sampled rows %.2e, at most %.2e: %s\n", setting.name.c_str(), error, tolerance(setting.type),
                is_right ? "right" : "WRONG");
    all_right = all_right && is_right;
    if (!is_right) continue;
    for (const auto& record : {time_pass(
                                   problem, "forward", kForwardFlopsPerColumn, [&] { problem.run_forward(); }, stream.get(), options),
                               time_pass(
                                   problem, "backward", kBackwardFlopsPerColumn, [&] { problem.run_backward(); }, stream.get(), options)}) {
      if (json) json << record << "\n";
    }
    std::fflush(stdout);
  }
  return all_right;
}

Options parse(int argc, char** argv) {
  namespace po = boost::program_options;
  Options options;
  po::options_description description("cuda_bench: the GPU's kernels alone, checked and then timed");
  description.add_options()("help,h", "this text")("repeats", po::value(&options.repeats)->default_value(options.repeats), "samples per row")(
      "only", po::value(&options.only), "run settings whose name holds this text")(
      "rest", po::value(&options.rest_seconds)->default_value(options.rest_seconds), "seconds in which the GPU cools before a pass is timed")(
      "sustain", po::value(&options.sustain_seconds)->default_value(options.sustain_seconds), "seconds for which a pass runs before it is timed")(
      "score-gradients", po::value(&options.score_gradient_bytes)->default_value(options.score_gradient_bytes),
      "bytes for gradients of scores kept between the backward pass's kernels; 0: compute them twice")("json", po::value(&options.json_path),
                                                                                                       "file for one JSON record per row");
  po::variables_map variables;
  po::store(po::parse_command_line(argc, argv, description), variables);
  po::notify(variables);
  if (variables.count("help") > 0) {
    std::ostringstream text;
    text << description;
    std::printf("%s", text.str().c_str());
    std::exit(0);
  }
  if (options.repeats < 1) throw usage_error("--repeats is " + std::to_string(options.repeats) + ", but must be at least 1");
  for (const auto& [name, seconds] : {std::pair{"--rest", options.rest_seconds}, std::pair{"--sustain", options.sustain_seconds}}) {
    if (!(seconds >= 0 && seconds <= kLongestSeconds)) {
      throw usage_error(std::string(name) + " is " + std::to_string(seconds) + " seconds, but must be 0 to " + std::to_string(kLongestSeconds));
    }
  }
  return options;
}

}  // namespace
}  // namespace hilbertring

int main(int argc, char** argv) {
  try {
    return hilbertring::run(hilbertring::parse(argc, argv)) ? 0 : 1;
  } catch (const hilbertring::Error& error) {
    std::fprintf(stderr, "cuda_bench: %s\n", error.what());
    return static_cast<int>(error.kind());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_bench: %s\n", error.what());
    return 2;
  }
}

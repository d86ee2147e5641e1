#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/random.h"
#include "core/reference.h"
#include "ring/attention.h"
#include "ring/redistribution.h"
#include "tests/ring/backend_under_test.h"
#include "tests/ring/random_problem.h"

namespace hilbertring {

/// All tensors of a small problem, whole, in sequence order: what the ranks together hold.
struct WholeResult {
  std::map<ShardTensor, std::vector<std::byte>> tensors;
  std::int64_t allowed_pairs = 0;
  friend bool operator==(const WholeResult& a, const WholeResult& b) { return a.tensors == b.tensors; }
};

inline bool is_key_side(ShardTensor t) { return t == ShardTensor::kK || t == ShardTensor::kV || t == ShardTensor::kDk || t == ShardTensor::kDv; }

inline std::int64_t heads_of(const Shape& shape, ShardTensor t) { return is_key_side(t) ? shape.kv_heads : shape.heads; }

inline TensorId tensor_id(ShardTensor t) {
  return t == ShardTensor::kQ ? TensorId::kQ : t == ShardTensor::kK ? TensorId::kK : t == ShardTensor::kV ? TensorId::kV : TensorId::kDo;
}

/// All elements of an input, as they are after rounding to the problem's type.
inline std::vector<double> input_elements(const Problem& problem, std::uint64_t seed, ShardTensor t) {
  const Shape& shape = problem.shape;
  std::vector<double> elements(static_cast<std::size_t>(shape.batch * shape.tokens * heads_of(shape, t) * shape.head_dim));
  for (std::size_t i = 0; i < elements.size(); ++i) {
    std::byte rounded[8];
    store_element(rounded, problem.type, 0, normal_at(seed, tensor_id(t), static_cast<std::int64_t>(i)));
    elements[i] = load_element(rounded, problem.type, 0);
  }
  return elements;
}

/// This rank's slab of an input.
inline std::vector<std::byte> input_slab(const Problem& problem, std::uint64_t seed, ShardTensor t, Range<SequenceIndex> tokens) {
  const Shape& shape = problem.shape;
  const std::int64_t row = heads_of(shape, t) * shape.head_dim;
  std::vector<std::byte> slab(static_cast<std::size_t>(shape.batch * tokens.size() * row * size_bytes(problem.type)));
  std::int64_t out = 0;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (SequenceIndex n = tokens.begin; n < tokens.end; ++n) {
      for (std::int64_t i = 0; i < row; ++i) {
        store_element(slab.data(), problem.type, out++, normal_at(seed, tensor_id(t), (b * shape.tokens + n.value) * row + i));
      }
    }
  }
  return slab;
}

/// How a tensor lies in a whole and in a slab: `outer` runs of tokens, `row` bytes a token.
struct TokenRuns {
  std::int64_t outer, row;
};
inline TokenRuns token_runs(const Problem& problem, ShardTensor t) {
  const Shape& shape = problem.shape;
  const std::int64_t real = size_bytes(arithmetic_type(problem.type));
  if (t == ShardTensor::kLse) return {shape.batch * shape.heads, size_bytes(ElementType::kFloat32)};
  if (t == ShardTensor::kRowMax || t == ShardTensor::kRowSum) return {shape.batch * shape.heads, real};
  return {shape.batch, heads_of(shape, t) * shape.head_dim * real};
}
inline std::vector<std::byte> empty_slab(const Problem& problem, ShardTensor t, Range<SequenceIndex> tokens) {
  const TokenRuns runs = token_runs(problem, t);
  return std::vector<std::byte>(static_cast<std::size_t>(runs.outer * tokens.size() * runs.row));
}

/// Copies a rank's slab of a result to its place in the whole, and back.
inline void place_slab(const Problem& problem, ShardTensor t, Range<SequenceIndex> tokens, const std::vector<std::byte>& slab,
                       std::vector<std::byte>& whole) {
  const TokenRuns runs = token_runs(problem, t);
  whole.resize(static_cast<std::size_t>(runs.outer * problem.shape.tokens * runs.row));
  for (std::int64_t i = 0; i < runs.outer; ++i) {
    std::copy_n(slab.begin() + i * tokens.size() * runs.row, tokens.size() * runs.row,
                whole.begin() + (i * problem.shape.tokens + tokens.begin.value) * runs.row);
  }
}
inline std::vector<std::byte> take_slab(const Problem& problem, ShardTensor t, Range<SequenceIndex> tokens, const std::vector<std::byte>& whole) {
  const TokenRuns runs = token_runs(problem, t);
  std::vector<std::byte> slab = empty_slab(problem, t, tokens);
  for (std::int64_t i = 0; i < runs.outer; ++i) {
    std::copy_n(whole.begin() + (i * problem.shape.tokens + tokens.begin.value) * runs.row, tokens.size() * runs.row,
                slab.begin() + i * tokens.size() * runs.row);
  }
  return slab;
}

/// Exact, but for the moment of setting up, whose prediction is an upper bound (it decides the peak in tiny problems only).
inline void require_predicted(std::int64_t peak_bytes, MemoryPrediction prediction) {
  const std::int64_t predicted = prediction.peak_bytes();
  prediction.setup_bytes = 0;
  if (peak_bytes > predicted || peak_bytes < prediction.peak_bytes()) {
    throw std::runtime_error("peak memory " + std::to_string(peak_bytes) + " differs from the prediction " + std::to_string(predicted) + " (shard " +
                             std::to_string(prediction.shard_bytes) + ", redistribution " + std::to_string(prediction.redistribution_bytes) +
                             ", load " + std::to_string(prediction.load_bytes) + ", passes " + std::to_string(prediction.pass_bytes) + ")");
  }
}

/// In pieces: results too, and both in many.
enum class InputSource { kLoaded, kReadInPieces, kMadeOnTheSpot };

inline void load_inputs(RingAttention& attention, const Problem& problem, std::uint64_t seed, Range<SequenceIndex> tokens, InputSource source) {
  std::vector<ShardTensor> inputs{ShardTensor::kQ, ShardTensor::kK, ShardTensor::kV};
  if (problem.with_gradient) inputs.push_back(ShardTensor::kDo);
  for (const ShardTensor t : inputs) {
    if (source == InputSource::kMadeOnTheSpot) {
      attention.load_random(t, seed);
    } else if (source == InputSource::kReadInPieces) {
      attention.load_in_pieces(t, [&](Range<SequenceIndex> piece, std::span<std::byte> bytes) {
        const std::vector<std::byte> rows = input_slab(problem, seed, t, piece);
        if (rows.size() != bytes.size()) throw std::runtime_error("a piece of another size than its tokens need");
        std::ranges::copy(rows, bytes.begin());
      });
    } else {
      attention.load(t, input_slab(problem, seed, t, tokens));
    }
  }
}

/// Hands out a result and puts it in its place.
inline void store_result(RingAttention& attention, const Problem& problem, ShardTensor t, Range<SequenceIndex> tokens, InputSource source,
                         WholeResult& result, std::mutex& mutex) {
  const ElementType type = t == ShardTensor::kLse ? ElementType::kFloat32 : arithmetic_type(problem.type);
  const auto place = [&](Range<SequenceIndex> run, std::span<const std::byte> rows) {
    const std::lock_guard lock(mutex);
    place_slab(problem, t, run, {rows.begin(), rows.end()}, result.tensors[t]);
  };
  if (source == InputSource::kReadInPieces) return attention.store_in_pieces(t, type, place);
  std::vector<std::byte> slab = empty_slab(problem, t, tokens);
  attention.store(t, type, slab);
  place(tokens, slab);
}

/// Runs the problem on one rank of a job and adds its share of the results. What the ring promised is checked on the way.
inline void run_rank(Transport& transport, const std::shared_ptr<const Schedule>& schedule, std::uint64_t seed, int num_threads, WholeResult& result,
                     std::mutex& mutex, InputSource source = InputSource::kLoaded) {
  const Problem& problem = schedule->problem();
  const Shape& shape = problem.shape;
  const Range<SequenceIndex> tokens = sequence_slab(shape.tokens, transport.num_ranks(), transport.rank());
  const ElementType real = arithmetic_type(problem.type);
  RingOptions options = backend_under_test().options(transport.rank(), num_threads, real);
  if (source == InputSource::kReadInPieces) options.staging_bytes = 2048;
  RingAttention attention(transport, schedule, options);
  load_inputs(attention, problem, seed, tokens, source);

  std::vector<ShardTensor> outputs{ShardTensor::kO, ShardTensor::kLse};
  PassReport report = attention.forward();
  const std::int64_t allowed_pairs = report.allowed_pairs;
  if (report.sent_bytes != report.predicted_bytes) throw std::runtime_error("forward: sent bytes differ from the prediction");
  if (problem.with_gradient) {
    report = attention.backward();
    if (report.sent_bytes != report.predicted_bytes) throw std::runtime_error("backward: sent bytes differ from the prediction");
    outputs.insert(outputs.end(), {ShardTensor::kDq, ShardTensor::kDk, ShardTensor::kDv});
  }
  for (const ShardTensor t : outputs) store_result(attention, problem, t, tokens, source, result, mutex);
  MemoryPrediction on_host = attention.predicted_memory().host;
  if (source == InputSource::kReadInPieces) on_host.load_bytes = on_host.load_in_pieces_bytes;
  require_predicted(attention.memory().peak_bytes(), on_host);
  require_predicted(attention.gpu_memory().peak_bytes(), attention.predicted_memory().gpu);
  const std::lock_guard lock(mutex);
  result.allowed_pairs += allowed_pairs;
}

}  // namespace hilbertring

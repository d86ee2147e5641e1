#include "attention_case.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/random.h"

namespace hilbertring {

namespace {

std::vector<std::byte> normal_tensor(ElementType type, std::uint64_t seed, TensorId id, std::int64_t count) {
  std::vector<std::byte> data(static_cast<std::size_t>(count * size_bytes(type)));
  for (std::int64_t i = 0; i < count; ++i) store_element(data.data(), type, i, normal_at(seed, id, i));
  return data;
}

std::vector<std::int64_t> permutation(std::int64_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_bits(seed, stream, i) % i]);
  return order;
}

Tensor view(std::vector<std::byte>& data, ElementType type, const Shape& shape, std::int64_t heads, std::int64_t columns) {
  return {data.data(), type, shape.batch, heads, shape.tokens, columns};
}

ConstTensor view(const std::vector<std::byte>& data, ElementType type, const Shape& shape, std::int64_t heads, std::int64_t columns) {
  return {data.data(), type, shape.batch, heads, shape.tokens, columns};
}

std::vector<std::byte> filled(ElementType type, std::int64_t count, double value) {
  std::vector<std::byte> data(static_cast<std::size_t>(count * size_bytes(type)));
  for (std::int64_t i = 0; i < count; ++i) store_element(data.data(), type, i, value);
  return data;
}

std::vector<std::vector<ChunkPair>> in_calls(const std::vector<ChunkPair>& pairs, std::size_t pairs_per_call) {
  std::vector<std::vector<ChunkPair>> calls;
  for (std::size_t begin = 0; begin < pairs.size(); begin += pairs_per_call) {
    const std::size_t end = std::min(pairs.size(), begin + pairs_per_call);
    calls.emplace_back(pairs.begin() + static_cast<std::ptrdiff_t>(begin), pairs.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return calls;
}

/// M(j) of SPEC.md section 4.
std::int64_t multiplicity(const AttentionCase& c, std::int64_t head, std::int64_t query, std::int64_t key) {
  const Pattern& pattern = *c.pattern;
  const auto q = static_cast<std::size_t>(query);
  const auto k = static_cast<std::size_t>(key);
  if (pattern.causal() == Causal::kPosition && key > query) return 0;
  if (pattern.causal() == Causal::kSequence && c.key_times[k] > c.query_times[q]) return 0;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < pattern.num_branches(); ++i) {
    const Branch& branch = pattern.branch(i);
    if (branch.has_head(head) && branch.allows(head, Position(query), Position(key))) ++count;
  }
  return count;
}

template <class Accumulator>
std::vector<Accumulator> widened(const AttentionCase& c, const std::vector<std::byte>& tensor) {
  std::vector<Accumulator> values(tensor.size() / static_cast<std::size_t>(size_bytes(c.type)));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<Accumulator>(load_element(tensor.data(), c.type, static_cast<std::int64_t>(i)));
  return values;
}

template <class Accumulator>
struct Sums {
  std::vector<Accumulator> value, magnitude;

  explicit Sums(std::size_t count) : value(count), magnitude(count) {}
  void add(std::size_t at, Accumulator term, Accumulator size) {
    value[at] += term;
    magnitude[at] += size;
  }
  DenseTensor doubles() const { return {{value.begin(), value.end()}, {magnitude.begin(), magnitude.end()}}; }
};

/// Row by row: scores, softmax, o, and from these the row's part of all gradients.
template <class Accumulator>
class DenseLoop {
 public:
  explicit DenseLoop(const AttentionCase& c)
      : c_(c),
        columns_(static_cast<std::size_t>(c.shape.head_dim)),
        tokens_(static_cast<std::size_t>(c.shape.tokens)),
        scale_(static_cast<Accumulator>(c.scale)),
        q_(widened<Accumulator>(c, c.q)),
        k_(widened<Accumulator>(c, c.k)),
        v_(widened<Accumulator>(c, c.v)),
        d_o_(widened<Accumulator>(c, c.d_o)),
        o_(q_.size()),
        dq_(q_.size()),
        dk_(k_.size()),
        dv_(k_.size()) {}

  DenseResult run() {
    for (std::int64_t batch = 0; batch < c_.shape.batch; ++batch) {
      for (std::int64_t head = 0; head < c_.shape.heads; ++head) {
        const std::int64_t kv_head = head / c_.shape.heads_per_kv_head();
        const auto query_rows = static_cast<std::size_t>(batch * c_.shape.heads + head) * tokens_;
        const auto key_rows = static_cast<std::size_t>(batch * c_.shape.kv_heads + kv_head) * tokens_;
        for (std::size_t i = 0; i < tokens_; ++i) add_row(head, i, query_rows, key_rows);
      }
    }
    result_.o = o_.doubles();
    result_.dq = dq_.doubles();
    result_.dk = dk_.doubles();
    result_.dv = dv_.doubles();
    return std::move(result_);
  }

 private:
  void add_row(std::int64_t head, std::size_t query, std::size_t query_rows, std::size_t key_rows) {
    const std::size_t i = (query_rows + query) * columns_;
    constexpr Accumulator kMinusInfinity = -std::numeric_limits<Accumulator>::infinity();
    std::vector<Accumulator> p(tokens_, kMinusInfinity), count(tokens_);
    Accumulator max = kMinusInfinity;
    for (std::size_t j = 0; j < tokens_; ++j) {
      const std::int64_t times = multiplicity(c_, head, static_cast<std::int64_t>(query), static_cast<std::int64_t>(j));
      if (times == 0) continue;
      result_.num_pairs += times;
      count[j] = static_cast<Accumulator>(times);
      p[j] = scale_ * dot(q_, i, k_, (key_rows + j) * columns_, true);
      max = std::max(max, p[j]);
    }
    Accumulator total = 0;
    for (std::size_t j = 0; j < tokens_; ++j) total += p[j] = count[j] == 0 ? 0 : count[j] * std::exp(p[j] - max);
    result_.lse2.push_back(total == 0 ? -std::numeric_limits<double>::infinity()
                                      : static_cast<double>(max) / std::log(2.0) + std::log2(static_cast<double>(total)));
    if (total == 0) return;
    for (std::size_t j = 0; j < tokens_; ++j) p[j] /= total;
    add_output(p, i, key_rows);
    add_gradients(p, i, key_rows);
  }

  void add_output(const std::vector<Accumulator>& p, std::size_t i, std::size_t key_rows) {
    for (std::size_t j = 0; j < tokens_; ++j) {
      for (std::size_t d = 0; p[j] != 0 && d < columns_; ++d) {
        const Accumulator term = p[j] * v_[(key_rows + j) * columns_ + d];
        o_.add(i + d, term, std::abs(term));
      }
    }
  }

  void add_gradients(const std::vector<Accumulator>& p, std::size_t i, std::size_t key_rows) {
    const Accumulator delta = dot(d_o_, i, o_.value, i);
    const Accumulator delta_size = size_of_dot(d_o_, i, o_.magnitude, i);
    for (std::size_t j = 0; j < tokens_; ++j) {
      if (p[j] == 0) continue;
      const std::size_t key = (key_rows + j) * columns_;
      const Accumulator ds = p[j] * (dot(d_o_, i, v_, key) - delta);
      const Accumulator ds_size = p[j] * (size_of_dot(d_o_, i, v_, key) + delta_size);
      for (std::size_t d = 0; d < columns_; ++d) {
        dq_.add(i + d, scale_ * ds * k_[key + d], std::abs(scale_) * ds_size * std::abs(k_[key + d]));
        dk_.add(key + d, scale_ * ds * q_[i + d], std::abs(scale_) * ds_size * std::abs(q_[i + d]));
        dv_.add(key + d, p[j] * d_o_[i + d], p[j] * std::abs(d_o_[i + d]));
      }
    }
  }

  Accumulator dot(const std::vector<Accumulator>& a, std::size_t at, const std::vector<Accumulator>& b, std::size_t bt, bool is_score = false) {
    Accumulator sum = 0;
    for (std::size_t d = 0; d < columns_; ++d) sum += a[at + d] * b[bt + d];
    if (is_score) result_.max_abs_score = std::max(result_.max_abs_score, static_cast<double>(std::abs(scale_) * size_of_dot(a, at, b, bt)));
    return sum;
  }

  Accumulator size_of_dot(const std::vector<Accumulator>& a, std::size_t at, const std::vector<Accumulator>& b, std::size_t bt) const {
    Accumulator sum = 0;
    for (std::size_t d = 0; d < columns_; ++d) sum += std::abs(a[at + d] * b[bt + d]);
    return sum;
  }

  const AttentionCase& c_;
  std::size_t columns_, tokens_;
  Accumulator scale_;
  std::vector<Accumulator> q_, k_, v_, d_o_;
  Sums<Accumulator> o_, dq_, dk_, dv_;
  DenseResult result_;
};

}  // namespace

AttentionCase make_case(const Pattern& pattern, ElementType type, std::uint64_t seed) {
  const Shape& shape = pattern.shape();
  const std::int64_t num_query_elements = shape.batch * shape.heads * shape.tokens * shape.head_dim;
  const std::int64_t num_key_elements = shape.batch * shape.kv_heads * shape.tokens * shape.head_dim;
  AttentionCase c;
  c.shape = shape;
  c.type = type;
  c.pattern = &pattern;
  c.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  c.query_times = permutation(shape.tokens, seed, 100);
  c.key_times = permutation(shape.tokens, seed, 101);
  c.q = normal_tensor(type, seed, TensorId::kQ, num_query_elements);
  c.k = normal_tensor(type, seed, TensorId::kK, num_key_elements);
  c.v = normal_tensor(type, seed, TensorId::kV, num_key_elements);
  c.d_o = normal_tensor(type, seed, TensorId::kDo, num_query_elements);
  return c;
}

double element(const AttentionCase& c, const std::vector<std::byte>& tensor, std::int64_t index) {
  return load_element(tensor.data(), c.type, index);
}

void set_element(const AttentionCase& c, std::vector<std::byte>& tensor, std::int64_t index, double value) {
  store_element(tensor.data(), c.type, index, value);
}

std::vector<ChunkPair> ring_pairs(std::int64_t num_tokens, std::int64_t chunk) {
  const std::int64_t num_chunks = ceil_div(num_tokens, chunk);
  const auto rows = [&](std::int64_t index) {
    return ChunkRows{{Position(index * chunk), Position(std::min(num_tokens, (index + 1) * chunk))}, LocalRow(index * chunk)};
  };
  std::vector<ChunkPair> pairs;
  for (std::int64_t step = 0; step < num_chunks; ++step) {
    for (std::int64_t query = 0; query < num_chunks; ++query) pairs.push_back({rows(query), rows((query - step + num_chunks) % num_chunks)});
  }
  return pairs;
}

KernelResult run_kernels(const AttentionCase& c, BlockAttention& attention, const std::vector<ChunkPair>& pairs, std::size_t pairs_per_call) {
  const Shape& s = c.shape;
  const ElementType real = arithmetic_type(c.type);
  const std::int64_t num_rows = s.batch * s.heads * s.tokens;
  const std::int64_t num_key_rows = s.batch * s.kv_heads * s.tokens;
  const Times times{c.query_times, c.key_times};
  KernelResult r;
  r.o = r.dq = filled(real, num_rows * s.head_dim, 0);
  r.dk = r.dv = filled(real, num_key_rows * s.head_dim, 0);
  r.lse2 = filled(real, num_rows, -std::numeric_limits<double>::infinity());
  r.row_sum = r.delta = filled(real, num_rows, 0);
  const ConstTensor q = view(c.q, c.type, s, s.heads, s.head_dim);
  const ConstTensor k = view(c.k, c.type, s, s.kv_heads, s.head_dim);
  const ConstTensor v = view(c.v, c.type, s, s.kv_heads, s.head_dim);
  const ConstTensor d_o = view(c.d_o, c.type, s, s.heads, s.head_dim);
  const ForwardOperands forward{
      q, k, v, times, c.scale, view(r.lse2, real, s, s.heads, 1), view(r.row_sum, real, s, s.heads, 1), view(r.o, real, s, s.heads, s.head_dim)};
  const BackwardOperands backward{q,
                                  d_o,
                                  k,
                                  v,
                                  forward.row_max,
                                  view(r.delta, real, s, s.heads, 1),
                                  times,
                                  c.scale,
                                  view(r.dq, real, s, s.heads, s.head_dim),
                                  view(r.dk, real, s, s.kv_heads, s.head_dim),
                                  view(r.dv, real, s, s.kv_heads, s.head_dim)};

  for (const auto& call : in_calls(pairs, pairs_per_call)) r.num_pairs += attention.forward(*c.pattern, forward, call);
  attention.finish_forward(forward);
  attention.dot_rows(view(r.delta, real, s, s.heads, 1), d_o, forward.o);
  for (const auto& call : in_calls(pairs, pairs_per_call)) attention.backward(*c.pattern, backward, call);
  return r;
}

template <class Accumulator>
DenseResult evaluate_densely(const AttentionCase& c) {
  return DenseLoop<Accumulator>(c).run();
}
template DenseResult evaluate_densely<double>(const AttentionCase&);
template DenseResult evaluate_densely<float>(const AttentionCase&);

std::string find_misses(const AttentionCase& c, const KernelResult& result, const DenseResult& truth, double unit) {
  // A rounded score is off by `unit` times the sizes that it was summed from, and moves every term by as much.
  const double roundings = 16 * (1 + truth.max_abs_score);
  const ElementType real = arithmetic_type(c.type);
  std::string misses;
  const auto compare = [&](const char* name, const std::vector<std::byte>& data, const std::vector<double>& value, auto bound_of) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      const double got = load_element(data.data(), real, static_cast<std::int64_t>(i));
      const double bound = bound_of(i);
      if (got == value[i] || std::abs(got - value[i]) <= bound) continue;
      misses = std::string(name) + " element " + std::to_string(i) + ": " + std::to_string(got) + " instead of " + std::to_string(value[i]) +
               ", bound " + std::to_string(bound);
      return;
    }
  };
  const auto compare_tensor = [&](const char* name, const std::vector<std::byte>& data, const DenseTensor& tensor) {
    compare(name, data, tensor.value, [&](std::size_t i) { return unit * roundings * tensor.magnitude[i]; });
  };
  compare_tensor("o", result.o, truth.o);
  compare_tensor("dq", result.dq, truth.dq);
  compare_tensor("dk", result.dk, truth.dk);
  compare_tensor("dv", result.dv, truth.dv);
  compare("lse2", result.lse2, truth.lse2, [&](std::size_t i) { return unit * (roundings + 2 * std::abs(truth.lse2[i])); });
  return misses;
}

double max_error(const AttentionCase& c, const std::vector<std::byte>& result, const std::vector<double>& truth) {
  double worst = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double error = std::abs(load_element(result.data(), arithmetic_type(c.type), static_cast<std::int64_t>(i)) - truth[i]);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace hilbertring

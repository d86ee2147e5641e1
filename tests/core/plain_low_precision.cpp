#include "plain_low_precision.h"

#include <algorithm>
#include <cmath>

namespace hilbertring {

namespace {

float rounded(float value, ElementType type) { return type == ElementType::kFloat16 ? to_float(to_float16(value)) : to_float(to_bfloat16(value)); }

std::vector<float> widened(const AttentionCase& c, const std::vector<std::byte>& tensor) {
  std::vector<float> values(tensor.size() / static_cast<std::size_t>(size_bytes(c.type)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(element(c, tensor, static_cast<std::int64_t>(i)));
  return values;
}

float dot(const float* a, const float* b, std::size_t count) {
  float sum = 0;
  for (std::size_t d = 0; d < count; ++d) sum += a[d] * b[d];
  return sum;
}

void add_scaled(float* to, float factor, const float* row, std::size_t count) {
  for (std::size_t d = 0; d < count; ++d) to[d] += factor * row[d];
}

}  // namespace

LowPrecisionResult evaluate_in_low_precision(const AttentionCase& c) {
  const auto columns = static_cast<std::size_t>(c.shape.head_dim);
  const auto tokens = static_cast<std::size_t>(c.shape.tokens);
  const auto scale = static_cast<float>(c.scale);
  const std::vector<float> q = widened(c, c.q), k = widened(c, c.k), v = widened(c, c.v), d_o = widened(c, c.d_o);
  LowPrecisionResult r;
  r.o.resize(q.size());
  r.dq.resize(q.size());
  r.dk.resize(k.size());
  r.dv.resize(k.size());
  std::vector<float> p(tokens);
  for (std::size_t row = 0; row < q.size() / columns; ++row) {
    const auto head_rows = static_cast<std::size_t>(c.shape.heads) * tokens;
    const std::size_t kv_head = row % head_rows / tokens / static_cast<std::size_t>(c.shape.heads_per_kv_head());
    const std::size_t first_key = (row / head_rows * static_cast<std::size_t>(c.shape.kv_heads) + kv_head) * tokens;
    const std::size_t i = row * columns;
    for (std::size_t j = 0; j < tokens; ++j) p[j] = scale * dot(&q[i], &k[(first_key + j) * columns], columns);
    const float max = *std::max_element(p.begin(), p.end());
    float total = 0;
    for (float& x : p) total += x = std::exp(x - max);
    for (std::size_t j = 0; j < tokens; ++j) add_scaled(&r.o[i], rounded(p[j] / total, c.type), &v[(first_key + j) * columns], columns);
    const float delta = dot(&d_o[i], &r.o[i], columns);
    for (std::size_t j = 0; j < tokens; ++j) {
      const std::size_t key = (first_key + j) * columns;
      const float ds = rounded(scale * p[j] / total * (dot(&d_o[i], &v[key], columns) - delta), c.type);
      add_scaled(&r.dv[key], rounded(p[j] / total, c.type), &d_o[i], columns);
      add_scaled(&r.dq[i], ds, &k[key], columns);
      add_scaled(&r.dk[key], ds, &q[i], columns);
    }
  }
  return r;
}

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <string>

namespace hilbertring {

/// Sizes of one attention problem. q, o, do, dq: [batch, tokens, heads, head_dim]; k, v, dk, dv: [batch, tokens, kv_heads, head_dim];
/// lse: [batch, heads, tokens].
struct Shape {
  std::int64_t batch = 1;
  std::int64_t tokens = 0;
  std::int64_t heads = 1;
  std::int64_t kv_heads = 1;
  std::int64_t head_dim = 0;

  std::int64_t heads_per_kv_head() const { return heads / kv_heads; }
  friend bool operator==(const Shape&, const Shape&) = default;
  /// Throws usage_error unless all are positive, heads % kv_heads == 0, and head_dim is one of 8, 16, ..., 256.
  void validate() const;
};

/// "B=1 N=8192 H=8 G=8 D=64"
std::string to_string(const Shape& shape);

}  // namespace hilbertring

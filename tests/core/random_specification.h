#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "core/random.h"
#include "core/shape.h"
#include "core/specification.h"

namespace hilbertring {

/// Numbers for a test, by counter: the seed that a failing test prints repeats it on any machine.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : seed_(seed) {}

  /// Any of lowest, ..., highest.
  std::int64_t between(std::int64_t lowest, std::int64_t highest) {
    const auto num_values = static_cast<std::uint64_t>(highest - lowest + 1);
    return lowest + static_cast<std::int64_t>(random_bits(seed_, 0, counter_++) % num_values);
  }
  bool coin() { return between(0, 1) == 1; }
  template <class T>
  T one_of(const std::vector<T>& values) {
    return values[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(values.size()) - 1))];
  }
  std::vector<std::int64_t> permutation(std::int64_t n) {
    std::vector<std::int64_t> result(static_cast<std::size_t>(n));
    std::iota(result.begin(), result.end(), 0);
    for (std::int64_t i = n - 1; i > 0; --i) std::swap(result[static_cast<std::size_t>(i)], result[static_cast<std::size_t>(between(0, i))]);
    return result;
  }

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

/// Up to `max_tokens` tokens, up to 7 heads with every way to share KV heads.
inline Shape draw_shape(Draw& draw, std::int64_t max_tokens) {
  Shape shape{.batch = 1, .tokens = draw.between(1, max_tokens), .heads = draw.between(1, 7), .kv_heads = 1, .head_dim = 8};
  do shape.kv_heads = draw.between(1, shape.heads);
  while (shape.heads % shape.kv_heads != 0);
  return shape;
}

/// A valid specification that may use any option but `curve = file`.
inline Specification draw_specification(Draw& draw, const Shape& shape) {
  Specification s;
  const std::int64_t num_branches = draw.between(1, 4);
  for (std::int64_t i = 0; i < num_branches; ++i) {
    s.segment_lengths.push_back(draw.between(1, shape.tokens + 3));
    s.dilation_rates.push_back(draw.between(1, std::min<std::int64_t>(s.segment_lengths.back(), 6)));
  }
  s.branch_heads = draw.one_of<BranchHeads>({BranchHeads::kAll, BranchHeads::kSplit});
  s.dilate = draw.one_of<Dilate>({Dilate::kQkv, Dilate::kKv});
  s.offset = draw.one_of<Offset>({Offset::kZero, Offset::kHeadMod, Offset::kHeadBlock});
  s.causal = draw.one_of<Causal>({Causal::kNone, Causal::kSequence, Causal::kPosition});
  s.curve = draw.one_of<Curve>({Curve::kIdentity, Curve::kHilbert, Curve::kSnake, Curve::kMorton});
  s.curve_chunk = draw.coin() ? 0 : draw.between(1, shape.tokens);
  s.curve_on = draw.one_of<CurveOn>({CurveOn::kQkv, CurveOn::kKv});
  if (draw.coin()) s.grid = {draw.between(1, 5), shape.tokens};
  if (draw.coin()) s.scale = normal_at(7, TensorId::kQ, draw.between(0, 1000));
  s.chunk = draw.coin() ? 0 : draw.between(1, shape.tokens);
  s.placement = draw.one_of<Placement>({Placement::kContiguous, Placement::kZigzag});
  return s;
}

}  // namespace hilbertring

#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "hilbert/order.h"
#include "ring/placement.h"
#include "ring/schedule.h"

namespace hilbertring {

/// Draws numbers one after the other from a seed: the same on every machine.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : seed_(seed) {}

  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_bits(seed_, 77, counter_++) % static_cast<std::uint64_t>(high - low + 1));
  }
  template <class T>
  T one_of(const std::vector<T>& values) {
    return values[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(values.size()) - 1))];
  }

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};

/// What a failed test of a drawn problem says of it.
inline std::string describe(std::uint64_t seed, const Problem& problem) {
  return "seed " + std::to_string(seed) + ": " + to_string(problem.shape) + " " + to_json(problem.specification);
}

/// A small problem with every option of the pattern, the orders and the placement drawn at random. At least `min_units` units.
inline Problem random_problem(std::uint64_t seed, std::int64_t min_units) {
  Draw draw(seed);
  Problem problem;
  problem.with_gradient = true;
  Shape& shape = problem.shape;
  shape.batch = draw.between(1, 2);
  shape.tokens = draw.between(40, 150);
  shape.kv_heads = draw.between(1, 2);
  shape.heads = shape.kv_heads * draw.between(1, 3);
  shape.head_dim = 8 * draw.between(1, 3);

  Specification& specification = problem.specification;
  const std::int64_t num_branches = draw.between(1, 3);
  for (std::int64_t b = 0; b < num_branches; ++b) {
    const std::int64_t w = draw.between(2, 2 * shape.tokens);
    specification.segment_lengths.push_back(w);
    specification.dilation_rates.push_back(draw.between(1, std::min<std::int64_t>({w, shape.tokens, 5})));
  }
  specification.branch_heads = shape.heads >= num_branches ? draw.one_of<BranchHeads>({BranchHeads::kAll, BranchHeads::kSplit}) : BranchHeads::kAll;
  specification.dilate = draw.one_of<Dilate>({Dilate::kQkv, Dilate::kKv});
  specification.offset = draw.one_of<Offset>({Offset::kZero, Offset::kHeadMod, Offset::kHeadBlock});
  specification.causal = draw.one_of<Causal>({Causal::kNone, Causal::kSequence, Causal::kPosition});
  specification.curve = draw.one_of<Curve>({Curve::kIdentity, Curve::kHilbert, Curve::kSnake, Curve::kMorton});
  specification.curve_chunk = draw.one_of<std::int64_t>({0, 0, 32});
  specification.curve_on = draw.one_of<CurveOn>({CurveOn::kQkv, CurveOn::kKv});
  specification.placement = draw.one_of<Placement>({Placement::kContiguous, Placement::kZigzag});
  const std::int64_t min_chunks = specification.placement == Placement::kZigzag ? 2 * min_units - 1 : min_units;
  specification.chunk = draw.between(1, std::max<std::int64_t>(1, (shape.tokens - 1) / std::max<std::int64_t>(1, min_chunks - 1)));
  while (ChunkPlacement(shape.tokens, specification.chunk, specification.placement, 1).num_units() < min_units) --specification.chunk;
  problem.backward_rotation = draw.one_of<std::optional<Rotation>>({std::nullopt, Rotation::kKvUp, Rotation::kQueryDown});
  return problem;
}

inline std::shared_ptr<const Schedule> make_schedule(const Problem& problem, std::int64_t num_ranks) {
  return std::make_shared<const Schedule>(problem, make_orders(problem.specification, problem.shape.tokens), num_ranks);
}

}  // namespace hilbertring

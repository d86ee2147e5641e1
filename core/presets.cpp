#include <array>
#include <functional>
#include <utility>

#include "core/error.h"
#include "core/specification.h"

namespace hilbertring {

namespace {

/// LongNet's geometric branches, without those longer than the sequence (but for the first): each step four times as long and as sparse, so that
/// every branch costs the same.
Specification geometric_branches(const Shape& shape) {
  constexpr std::array<std::pair<std::int64_t, std::int64_t>, 3> kBranches = {{{2048, 1}, {8192, 4}, {32768, 16}}};
  Specification specification;
  for (const auto& [segment_length, dilation_rate] : kBranches) {
    if (segment_length > shape.tokens && !specification.segment_lengths.empty()) break;
    specification.segment_lengths.push_back(segment_length);
    specification.dilation_rates.push_back(dilation_rate);
  }
  return specification;
}

Specification dense(const Shape& shape) {
  Specification specification;
  specification.segment_lengths = {shape.tokens};
  specification.dilation_rates = {1};
  specification.curve = Curve::kIdentity;
  return specification;
}

Specification longnet(const Shape& shape) {
  Specification specification = geometric_branches(shape);
  specification.offset = Offset::kHeadMod;
  specification.curve = Curve::kIdentity;
  return specification;
}

Specification torchscale(const Shape& shape) {
  Specification specification = geometric_branches(shape);
  specification.offset = Offset::kHeadBlock;
  specification.curve = Curve::kIdentity;
  return specification;
}

Specification ring_dilated_hilbert(const Shape& shape) {
  Specification specification = geometric_branches(shape);
  specification.branch_heads = BranchHeads::kSplit;
  specification.dilate = Dilate::kKv;
  return specification;
}

Specification hilbert_core(const Shape&) {
  Specification specification;
  specification.segment_lengths = {2048};
  specification.dilation_rates = {4};
  specification.dilate = Dilate::kKv;
  specification.curve_on = CurveOn::kKv;
  return specification;
}

struct Recipe {
  std::string name;
  std::string meaning;
  std::function<Specification(const Shape&)> specification;
};

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = {
      {"dense", "every query attends to every key, tokens in sequence order", dense},
      {"longnet",
       "LongNet's dilated attention (arXiv 2307.02486): segments of 2048, 8192, 32768 with dilation 1, 4, 16 of queries, keys and values, offset "
       "head mod "
       "rate, sequence order",
       longnet},
      {"torchscale", "LongNet as torchscale computes it: the same segments and dilation, offset by blocks of heads, sequence order", torchscale},
      {"ring-dilated-hilbert",
       "one Hilbert order for queries, keys and values; segments of 2048, 8192, 32768 with dilation 1, 4, 16 of keys and values; each branch has its "
       "own heads",
       ring_dilated_hilbert},
      {"hilbert-core", "segments of 2048 with dilation 4 of keys and values, which alone lie in Hilbert order; queries in sequence order",
       hilbert_core},
  };
  return all;
}

}  // namespace

const std::vector<std::string>& preset_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const Recipe& recipe : recipes()) result.push_back(recipe.name);
    return result;
  }();
  return names;
}

Preset preset(const std::string& name, const Shape& shape) {
  for (const Recipe& recipe : recipes()) {
    if (recipe.name == name) return {recipe.name, recipe.meaning, recipe.specification(shape)};
  }
  throw usage_error("unknown preset '" + name + "'; did you mean '" + nearest_name(name, preset_names()) + "'?");
}

}  // namespace hilbertring

#include "drivers/suite_cases.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "drivers/slab.h"

namespace hilbertring {

namespace {

using Lengths = std::vector<std::int64_t>;

constexpr Shape kSmall = {.batch = 1, .tokens = 150, .heads = 2, .kv_heads = 1, .head_dim = 8};

Specification branches(Lengths segment_lengths, Lengths dilation_rates, std::int64_t chunk = 15) {
  return {.segment_lengths = std::move(segment_lengths), .dilation_rates = std::move(dilation_rates), .chunk = chunk};
}

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) text += part;
  return text;
}

/// `specification` with one key set as on the command line.
Specification with(Specification specification, const std::string& key, const std::string& value) {
  set_from_text(specification, key, value);
  return specification;
}

/// Collects cases; those that do not ask for a type take turns, so that each kind of case meets each type somewhere.
class CaseList {
 public:
  SuiteCase& add(const std::string& name, const std::string& covers, const Shape& shape, const Specification& specification) {
    const std::size_t index = cases_.size();
    return cases_.emplace_back(SuiteCase{.name = name,
                                         .covers = covers,
                                         .type = kElementTypes[index % kElementTypes.size()],
                                         .shape = shape,
                                         .specification = specification,
                                         .seed = index + 1});
  }
  std::vector<SuiteCase> take() { return std::move(cases_); }

 private:
  std::vector<SuiteCase> cases_;
};

/// A preset for 32768 tokens, shrunk to 256 with all its branches.
Specification shrunk_preset(const std::string& name) {
  constexpr std::int64_t kDivisor = 128;
  Specification specification = preset(name, {.tokens = 256 * kDivisor, .head_dim = 8}).specification;
  for (std::size_t i = 0; i < specification.segment_lengths.size(); ++i) {
    specification.segment_lengths[i] = std::max(specification.segment_lengths[i] / kDivisor, specification.dilation_rates[i]);
  }
  specification.chunk = 16;
  return specification;
}

void add_presets(CaseList& list) {
  const Shape shape = {.batch = 1, .tokens = 256, .heads = 4, .kv_heads = 2, .head_dim = 8};
  for (const std::string& name : preset_names()) {
    list.add("preset-" + name, "the preset " + name + ", its segments 1/128 as long", shape, shrunk_preset(name));
  }
  const Specification causal = with(with(shrunk_preset("longnet"), "causal", "sequence"), "placement", "zigzag");
  list.add("preset-longnet-causal", "LongNet's pattern, causal, placed in zigzag", shape, causal).type = ElementType::kFloat32;
}

void add_types(CaseList& list) {
  const Shape shape = {.batch = 1, .tokens = 96, .heads = 2, .kv_heads = 1, .head_dim = 16};
  for (const ElementType type : kElementTypes) {
    const std::string name(to_string(type));
    list.add("type-" + name, "dense attention in " + name, shape, branches({96}, {1}, 12)).type = type;
  }
}

void add_causality(CaseList& list) {
  for (const std::string& causal : specification_words("causal")) {
    for (const std::string& curve_on : specification_words("curve_on")) {
      const Specification specification = with(with(branches({150}, {1}), "causal", causal), "curve_on", curve_on);
      list.add(joined({"causal-", causal, "-on-", curve_on}), joined({"causality ", causal, " with ", curve_on, " on a Hilbert curve"}), kSmall,
               specification);
    }
  }
  for (const std::string& placement : specification_words("placement")) {
    Specification specification = with(branches({30, 150}, {2, 5}, 8), "placement", placement);
    specification.causal = Causal::kPosition;
    list.add("placement-" + placement, "placement " + placement + " of 19 chunks, causal and dilated", kSmall, specification);
  }
}

void add_dilation(CaseList& list) {
  const Shape shape = {.batch = 1, .tokens = 120, .heads = 6, .kv_heads = 3, .head_dim = 8};
  for (const std::string& dilate : specification_words("dilate")) {
    for (const std::string& offset : specification_words("offset")) {
      const Specification specification = with(with(branches({30, 120}, {3, 5}, 10), "dilate", dilate), "offset", offset);
      list.add(joined({"dilate-", dilate, "-offset-", offset}), joined({"dilation of ", dilate, " from offset ", offset}), shape, specification);
    }
  }
}

void add_branches(CaseList& list) {
  const Shape five_heads = {.batch = 1, .tokens = 150, .heads = 5, .kv_heads = 5, .head_dim = 8};
  const Shape three_heads = {.batch = 1, .tokens = 100, .heads = 3, .kv_heads = 1, .head_dim = 8};
  for (const std::string& heads : specification_words("branch_heads")) {
    list.add("branch-heads-" + heads, "five heads over three branches, branch_heads " + heads, five_heads,
             with(branches({16, 40, 150}, {1, 2, 3}), "branch_heads", heads));
  }
  list.add("branch-heads-too-few", "fewer heads than branches that each want their own", kSmall,
           with(branches({16, 40, 150}, {1, 2, 3}), "branch_heads", "split"));
  list.add("branches-overlap", "keys that several branches allow count as often", kSmall, branches({16, 48, 150}, {1, 1, 1}));
  list.add("segments-end-short", "a last segment and a last chunk that are short, chunks across segments", kSmall, branches({37}, {1}, 11));
  list.add("segments-of-one", "every query sees its own key alone", kSmall, branches({1}, {1}));
  list.add("segment-beyond-sequence", "a segment longer than the sequence", kSmall, branches({1000}, {7}));
  list.add("rate-equals-length", "one key in each segment", kSmall, with(branches({8}, {8}), "dilate", "kv"));
  list.add("rows-without-keys", "three of four rows have no allowed key: o = 0, lse = -inf, no gradient", kSmall,
           with(branches({60}, {4}), "offset", "head-mod"));
  Specification causal = with(with(branches({50}, {5}, 10), "dilate", "kv"), "offset", "head-mod");
  causal.causal = Causal::kPosition;
  list.add("rows-without-keys-causal", "the first rows of each segment come before their first key", three_heads, causal);
}

void add_curves(CaseList& list) {
  const Specification pattern = with(branches({40, 150}, {1, 3}), "dilate", "kv");
  for (const std::string& curve : specification_words("curve")) {
    const Specification on_curve = with(pattern, "curve", curve);
    if (curve == "identity" || curve == "file") {
      list.add("curve-" + curve, "curve " + curve, kSmall, on_curve);
      list.add("curve-" + curve + "-on-kv", "curve " + curve + " of keys and values alone", kSmall, with(on_curve, "curve_on", "kv"));
      continue;
    }
    list.add("curve-" + curve + "-2d", "curve " + curve + " on a grid of odd sides with cells to skip", kSmall, with(on_curve, "grid", "11x15"));
    list.add("curve-" + curve + "-3d", "curve " + curve + " in a box with cells to skip", kSmall, with(on_curve, "grid", "5x5x7"));
    list.add("curve-" + curve + "-on-kv", "curve " + curve + " of keys and values alone, on the default grid", kSmall,
             with(on_curve, "curve_on", "kv"));
  }
  list.add("curve-chunk-2d", "a curve for each run of 64 tokens, the last run short", kSmall, with(pattern, "curve_chunk", "64"));
  list.add("curve-chunk-3d", "a curve in a box for each run of 60 tokens", kSmall, with(with(pattern, "curve_chunk", "60"), "grid", "3x4x5"));
  list.add("grid-line", "a grid of one row", kSmall, with(pattern, "grid", "1x150"));
  list.add("grid-narrow", "a grid of three columns", kSmall, with(pattern, "grid", "51x3"));
}

void add_sizes(CaseList& list) {
  const auto shape = [](std::int64_t batch, std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim = 8) {
    return Shape{.batch = batch, .tokens = tokens, .heads = heads, .kv_heads = kv_heads, .head_dim = head_dim};
  };
  const Specification odd = with(with(branches({50, 151}, {1, 3}, 9), "causal", "sequence"), "placement", "zigzag");
  list.add("tokens-151", "a prime number of tokens, causal, placed in zigzag", shape(1, 151, 2, 1), odd).type = ElementType::kFloat64;
  list.add("tokens-9", "nine tokens, one in each chunk", shape(1, 9, 2, 1), with(branches({4, 9}, {1, 2}, 1), "causal", "position"));
  list.add("chunk-automatic", "a chunk length chosen by the program", shape(1, 520, 1, 1), branches({64, 520}, {1, 4}, 0));
  list.add("chunk-130", "chunks longer than a tile of most kernels, causal", shape(1, 1040, 1, 1),
           with(branches({1040}, {1}, 130), "causal", "position"));
  list.add("chunk-130-dilated", "such chunks, dilated", shape(1, 1040, 1, 1), with(branches({300, 1040}, {2, 5}, 130), "dilate", "kv"));
  list.add("batch-3", "three sequences", shape(3, 64, 2, 1), branches({64}, {1}, 8));
  list.add("kv-heads-2-of-8", "grouped queries", shape(1, 100, 8, 2), branches({100}, {1}, 10));
  const Specification zigzag = with(with(branches({100}, {1}, 6), "causal", "position"), "placement", "zigzag");
  list.add("kv-heads-1-of-6", "one KV head for all, causal, placed in zigzag", shape(1, 100, 6, 1), zigzag).type = ElementType::kFloat16;
  list.add("kv-heads-3-of-3", "a KV head for each head, an odd number of them", shape(1, 100, 3, 3), branches({100}, {1}, 10));
  for (const std::int64_t head_dim : {8, 24, 40, 64, 96, 128, 160, 256}) {
    const std::string text = std::to_string(head_dim);
    list.add("head-dim-" + text, "rows of " + text + " columns, causal", shape(1, 48, 1, 1, head_dim),
             with(branches({48}, {1}, 6), "causal", "position"));
  }
}

void add_scores_and_passes(CaseList& list) {
  list.add("scale-small", "scores near 0: almost equal weights", kSmall, with(branches({150}, {1}), "scale", "0.02"));
  list.add("scale-negative", "a negative scale", kSmall, with(branches({150}, {1}), "scale", "-0.7"));
  list.add("scale-large", "scores of some 50: one key has nearly all the weight", kSmall, with(branches({150}, {1}), "scale", "6"));
  list.add("forward-dense", "no upstream gradient: o and lse alone", kSmall, branches({150}, {1})).has_gradient = false;
  SuiteCase& dilated =
      list.add("forward-dilated", "no upstream gradient, causal and dilated", kSmall, with(branches({30, 150}, {2, 5}), "causal", "sequence"));
  dilated.has_gradient = false;
  dilated.type = ElementType::kFloat32;
}

}  // namespace

FileLayout SuiteCase::layout() const {
  FileLayout layout{.shape = shape, .specification = specification, .datasets = {}, .has_order = true};
  for (const TensorName input : input_names(has_gradient)) layout.datasets.emplace_back(input, type);
  for (const TensorName result : result_names(has_gradient)) layout.datasets.emplace_back(result, ElementType::kFloat64);
  return layout;
}

std::string suite_title() { return std::string(kSuiteName) + " " + std::to_string(kSuiteVersion); }

const std::vector<SuiteCase>& suite_cases() {
  static const std::vector<SuiteCase> all = [] {
    CaseList list;
    add_presets(list);
    add_types(list);
    add_causality(list);
    add_dilation(list);
    add_branches(list);
    add_curves(list);
    add_sizes(list);
    add_scores_and_passes(list);
    return list.take();
  }();
  return all;
}

}  // namespace hilbertring

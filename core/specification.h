#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/shape.h"

namespace hilbertring {

enum class BranchHeads { kAll, kSplit };
enum class Dilate { kQkv, kKv };
enum class Offset { kZero, kHeadMod, kHeadBlock };
enum class Causal { kNone, kSequence, kPosition };
enum class Curve { kIdentity, kHilbert, kSnake, kMorton, kFile };
enum class CurveOn { kQkv, kKv };
enum class Placement { kContiguous, kZigzag };

/// What to compute: the pattern, the order of the tokens and how they are dealt out. SPEC.md sections 2, 3, 5 and 6 in the README's words.
struct Specification {
  std::vector<std::int64_t> segment_lengths;  ///< tokens, one per branch; longer than N means one segment
  std::vector<std::int64_t> dilation_rates;   ///< one per branch, each <= its segment length
  BranchHeads branch_heads = BranchHeads::kAll;
  Dilate dilate = Dilate::kQkv;
  Offset offset = Offset::kZero;
  Causal causal = Causal::kNone;
  Curve curve = Curve::kHilbert;
  std::int64_t curve_chunk = 0;  ///< tokens per curve; 0: one curve over the whole sequence
  CurveOn curve_on = CurveOn::kQkv;
  std::vector<std::int64_t> grid = {};  ///< {rows, cols} or {planes, rows, cols}; empty: the default grid
  std::optional<double> scale = {};     ///< empty: 1 / sqrt(head_dim)
  std::int64_t chunk = 0;               ///< tokens; 0: chosen by `chunk_for`
  Placement placement = Placement::kContiguous;

  friend bool operator==(const Specification&, const Specification&) = default;

  /// Throws usage_error with the field, the value and the rule.
  void validate(const Shape& shape) const;
  double scale_for(const Shape& shape) const;
  /// `chunk`, or when that is 0 a length chosen from N and the pattern, never from the number of ranks.
  std::int64_t chunk_for(const Shape& shape) const;
};

/// The keys of the `spec` attribute, in the order in which they are printed.
const std::vector<std::string>& specification_keys();

/// The words that a key may take, such as "none", "sequence", "position"; empty for a key that takes numbers. Throws usage_error for an unknown key.
const std::vector<std::string>& specification_words(const std::string& key);

/// JSON text of section 6 of SPEC.md, one line, keys in the order of `specification_keys()`; defaults are written out.
std::string to_json(const Specification& specification);
/// Missing keys take their defaults. Throws input_error: unknown key or value (with the nearest valid one), wrong JSON type, lists of unequal length.
Specification specification_from_json(const std::string& text);
/// Sets one key from the command line's text: "2048,8192", "split", "256x256" or "256,256" for grid. Throws usage_error.
void set_from_text(Specification& specification, const std::string& key, const std::string& value);

/// A named pattern: dense, longnet, torchscale, ring-dilated-hilbert, hilbert-core.
struct Preset {
  std::string name;
  std::string meaning;  ///< one line: what it stands for
  Specification specification;
};
/// Throws usage_error for an unknown name, with the nearest valid one.
Preset preset(const std::string& name, const Shape& shape);
const std::vector<std::string>& preset_names();

/// The candidate nearest to `word` (edit distance), to finish "unknown X 'word'; did you mean ...?".
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace hilbertring

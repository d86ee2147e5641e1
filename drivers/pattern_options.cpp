#include "drivers/pattern_options.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"

namespace hilbertring {

namespace {

std::string key_of(std::string option_name) {
  std::replace(option_name.begin(), option_name.end(), '-', '_');
  return option_name;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

Specification with_preset(const Specification& base, const Preset& preset) {
  Specification specification = preset.specification;
  specification.scale = base.scale;
  specification.grid = base.grid;
  specification.chunk = base.chunk;
  specification.placement = base.placement;
  return specification;
}

}  // namespace

const OptionGroup& pattern_options() {
  static const OptionGroup group = {"Pattern options",
                                    {{"preset", "NAME", "a named pattern: " + joined(preset_names()) + "; single options below change it"},
                                     {"segment-lengths", "LIST", "tokens per segment, one for each branch: 2048,8192"},
                                     {"dilation-rates", "LIST", "every r-th token takes part, one for each branch: 1,4"},
                                     {"branch-heads", "NAME", "all (each head in each branch) or split (each branch has its own heads)"},
                                     {"dilate", "NAME", "qkv (queries are dilated too) or kv"},
                                     {"offset", "NAME", "first token of a head's dilation: zero, head-mod (LongNet) or head-block (torchscale)"},
                                     {"causal", "NAME", "none, sequence (by place in the file) or position (by place on the curve)"},
                                     {"curve", "NAME", "order of the tokens: identity, hilbert, snake, morton or file (/order of the case)"},
                                     {"curve-chunk", "TOKENS", "lay the curve over each run of so many tokens; 0: over all"},
                                     {"curve-on", "NAME", "qkv, or kv (queries stay in sequence order)"},
                                     {"grid", "SIZES", "rows x cols or planes x rows x cols on which the tokens lie: 256x256"},
                                     {"scale", "NUMBER", "of the scores; else 1 / sqrt(head dimension)"},
                                     {"chunk", "TOKENS", "tokens per chunk, the grain of shards and of the order of summation; 0: chosen from N"},
                                     {"placement", "NAME", "contiguous, or zigzag (balances causal work)"}}};
  return group;
}

Specification with_pattern_options(Specification base, const Arguments& arguments, const Shape& shape, std::ostream& out) {
  if (const auto name = arguments.text("preset")) {
    const Preset named = preset(*name, shape);
    out << "preset " << named.name << ": " << named.meaning << "\n";
    base = with_preset(base, named);
  }
  for (const OptionEntry& entry : pattern_options().entries) {
    const auto value = arguments.text(entry.name);
    if (value && entry.name != "preset") set_from_text(base, key_of(entry.name), *value);
  }
  return base;
}

void require_pattern(const Arguments& arguments, const std::string& command) {
  if (arguments.has("preset") || (arguments.has("segment-lengths") && arguments.has("dilation-rates"))) return;
  throw usage_error(command + " needs a pattern: --preset, or --segment-lengths and --dilation-rates");
}

Specification pattern_from(const Arguments& arguments, const Shape& shape, const std::string& command, std::ostream& out) {
  require_pattern(arguments, command);
  Specification specification = with_pattern_options({}, arguments, shape, out);
  if (specification.curve == Curve::kFile) throw usage_error("curve is 'file', but " + command + " reads no case file; give another curve");
  return specification;
}

const OptionGroup& shape_options() {
  static const OptionGroup group = {"Shape",
                                    {{"tokens", "N", "tokens of the sequence"},
                                     {"heads", "H", "query heads"},
                                     {"kv-heads", "G", "key/value heads, a divisor of H; else H"},
                                     {"head-dim", "D", "8, 16, ... 256"},
                                     {"batch", "B", "sequences; else 1"}}};
  return group;
}

Shape shape_from(const Arguments& arguments) {
  Shape shape;
  shape.tokens = arguments.required_integer("tokens", 1);
  shape.heads = arguments.required_integer("heads", 1);
  shape.kv_heads = arguments.integer_or("kv-heads", shape.heads, 1);
  shape.head_dim = arguments.required_integer("head-dim", 1);
  shape.batch = arguments.integer_or("batch", 1, 1);
  shape.validate();
  return shape;
}

}  // namespace hilbertring

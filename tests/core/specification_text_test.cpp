#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "core/specification.h"
#include "tests/core/random_specification.h"

namespace hilbertring {
namespace {

/// The keys that must be given, and `more` members behind them.
std::string with_branches(const std::string& more) {
  std::string text = R"({"segment_lengths":[64,256],"dilation_rates":[1,4])";
  return text.append(more).append("}");
}

std::string refusal_of(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "accepted";
}

std::string json_refusal(const std::string& text) {
  return refusal_of(ErrorKind::kInput, [&] { specification_from_json(text); });
}

/// Refusal of the good branches with one more key.
std::string json_refusal_with(const std::string& member) { return json_refusal(with_branches(member)); }

std::string text_refusal(const std::string& key, const std::string& value) {
  Specification s;
  return refusal_of(ErrorKind::kUsage, [&] { set_from_text(s, key, value); });
}

TEST(SpecificationTextTest, MissingKeysTakeTheirDefaults) {
  Specification expected;
  expected.segment_lengths = {64, 256};
  expected.dilation_rates = {1, 4};

  EXPECT_EQ(specification_from_json(with_branches("")), expected);
  EXPECT_EQ(specification_from_json(with_branches(R"(,"grid":null,"scale":null)")), expected);
}

TEST(SpecificationTextTest, EveryKeyIsRead) {
  Specification expected;
  expected.segment_lengths = {64};
  expected.dilation_rates = {2};
  expected.branch_heads = BranchHeads::kSplit;
  expected.dilate = Dilate::kKv;
  expected.offset = Offset::kHeadBlock;
  expected.causal = Causal::kPosition;
  expected.curve = Curve::kMorton;
  expected.curve_chunk = 128;
  expected.curve_on = CurveOn::kKv;
  expected.grid = {8, 16};
  expected.scale = 0.25;
  expected.chunk = 32;
  expected.placement = Placement::kZigzag;
  const std::string text =
      R"({"segment_lengths":[64],"dilation_rates":[2],"branch_heads":"split","dilate":"kv","offset":"head-block","causal":"position",)"
      R"("curve":"morton","curve_chunk":128,"curve_on":"kv","grid":[8,16],"scale":0.25,"chunk":32,"placement":"zigzag"})";

  EXPECT_EQ(specification_from_json(text), expected);
  EXPECT_EQ(to_json(expected), text);
}

TEST(SpecificationTextTest, JsonRoundTripKeepsEverything) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Draw draw(seed);
    const Specification s = draw_specification(draw, draw_shape(draw, 100));

    EXPECT_EQ(specification_from_json(to_json(s)), s) << "seed " << seed << " " << to_json(s);
  }
}

TEST(SpecificationTextTest, EveryNameIsReadAndWritten) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> names = {{"branch_heads", {"all", "split"}},
                                                                               {"dilate", {"qkv", "kv"}},
                                                                               {"offset", {"zero", "head-mod", "head-block"}},
                                                                               {"causal", {"none", "sequence", "position"}},
                                                                               {"curve", {"identity", "hilbert", "snake", "morton", "file"}},
                                                                               {"curve_on", {"qkv", "kv"}},
                                                                               {"placement", {"contiguous", "zigzag"}}};

  for (const auto& [key, values] : names) {
    for (const std::string& value : values) {
      Specification s;
      set_from_text(s, key, value);
      EXPECT_NE(to_json(s).find("\"" + key + "\":\"" + value + "\""), std::string::npos) << key << " " << value;
    }
  }
}

TEST(SpecificationTextTest, UnknownWordsNameTheNearest) {
  EXPECT_EQ(json_refusal_with(R"(,"segment_length":[1])"), "unknown key 'segment_length'; did you mean 'segment_lengths'?");
  EXPECT_EQ(json_refusal_with(R"(,"casual":"none")"), "unknown key 'casual'; did you mean 'causal'?");
  EXPECT_EQ(json_refusal_with(R"(,"causal":"sequnce")"), "unknown value for causal 'sequnce'; did you mean 'sequence'?");
  EXPECT_EQ(json_refusal_with(R"(,"offset":"head_mod")"), "unknown value for offset 'head_mod'; did you mean 'head-mod'?");
  EXPECT_EQ(json_refusal_with(R"(,"cur\nve":1)"), "unknown key 'cur?ve'; did you mean 'curve'?") << "one line, whatever the file says";
  EXPECT_EQ(text_refusal("curves", "hilbert"), "unknown key 'curves'; did you mean 'curve'?");
  EXPECT_EQ(text_refusal("curve", "Hilbert"), "unknown value for curve 'Hilbert'; did you mean 'hilbert'?");
}

TEST(SpecificationTextTest, RefusesWrongJsonTypes) {
  EXPECT_EQ(json_refusal(R"({"segment_lengths":64,"dilation_rates":[1]})"), "segment_lengths is '64', but must be a list of integers");
  EXPECT_EQ(json_refusal(R"({"segment_lengths":[64],"dilation_rates":[1.5]})"), "dilation_rates[0] is '1.5', but must be an integer below 2^63");
  EXPECT_EQ(json_refusal(R"({"segment_lengths":[8,"64"],"dilation_rates":[1,1]})"),
            "segment_lengths[1] is '\"64\"', but must be an integer below 2^63");
  EXPECT_EQ(json_refusal_with(R"(,"chunk":18446744073709551615)"), "chunk is '18446744073709551615', but must be an integer below 2^63");
  EXPECT_EQ(json_refusal_with(R"(,"curve_chunk":true)"), "curve_chunk is 'true', but must be an integer below 2^63");
  EXPECT_EQ(json_refusal_with(R"(,"scale":"0.1")"), "scale is '\"0.1\"', but must be a number");
  EXPECT_EQ(json_refusal_with(R"(,"causal":true)"), "causal is 'true', but must be one of the texts none, sequence, position");
  EXPECT_EQ(json_refusal_with(R"(,"grid":"8x8")"), "grid is '\"8x8\"', but must be a list of integers");
  EXPECT_EQ(json_refusal("[1,2]"), "spec is '[1,2]', but must be a JSON object");
}

TEST(SpecificationTextTest, RefusesWhatIsNoJson) {
  EXPECT_EQ(json_refusal(""), "spec '' is not JSON: the error is at byte 1");
  EXPECT_EQ(json_refusal(R"({"chunk":1,})"), R"(spec '{"chunk":1,}' is not JSON: the error is at byte 12)");
}

TEST(SpecificationTextTest, RefusesIncompleteAndRepeatedKeys) {
  EXPECT_EQ(json_refusal(R"({"dilation_rates":[1]})"), "spec has no key 'segment_lengths', which must be given");
  EXPECT_EQ(json_refusal(R"({"segment_lengths":[1]})"), "spec has no key 'dilation_rates', which must be given");
  EXPECT_EQ(json_refusal(R"({"segment_lengths":[1,2],"dilation_rates":[1]})"),
            "segment_lengths has 2 entries and dilation_rates has 1, but both must have one per branch");
  EXPECT_EQ(json_refusal_with(R"(,"chunk":1,"chunk":2)"), "spec has the key 'chunk' twice, but each key may stand once");
}

TEST(SpecificationTextTest, CommandLineTextSetsEveryKindOfKey) {
  Specification s;

  set_from_text(s, "segment-lengths", "2048,8192");
  set_from_text(s, "dilation_rates", "1,4");
  set_from_text(s, "branch-heads", "split");
  set_from_text(s, "chunk", "512");
  set_from_text(s, "scale", "0.125");
  set_from_text(s, "grid", "256x256");

  EXPECT_EQ(s.segment_lengths, (std::vector<std::int64_t>{2048, 8192}));
  EXPECT_EQ(s.dilation_rates, (std::vector<std::int64_t>{1, 4}));
  EXPECT_EQ(s.branch_heads, BranchHeads::kSplit);
  EXPECT_EQ(s.chunk, 512);
  EXPECT_EQ(s.scale, 0.125);
  EXPECT_EQ(s.grid, (std::vector<std::int64_t>{256, 256}));
  set_from_text(s, "grid", "4,8,16");
  EXPECT_EQ(s.grid, (std::vector<std::int64_t>{4, 8, 16}));
}

TEST(SpecificationTextTest, RefusesTextThatIsNoValue) {
  EXPECT_EQ(text_refusal("segment-lengths", ""), "segment_lengths has '' where an integer below 2^63 must stand");
  EXPECT_EQ(text_refusal("segment-lengths", "2048,"), "segment_lengths has '' where an integer below 2^63 must stand");
  EXPECT_EQ(text_refusal("segment-lengths", "2048;8192"), "segment_lengths has '2048;8192' where an integer below 2^63 must stand");
  EXPECT_EQ(text_refusal("chunk", "1e3"), "chunk has '1e3' where an integer below 2^63 must stand");
  EXPECT_EQ(text_refusal("chunk", "9223372036854775808"), "chunk has '9223372036854775808' where an integer below 2^63 must stand");
  EXPECT_EQ(text_refusal("scale", "big"), "scale is 'big', but must be a number");
}

TEST(NearestNameTest, CountsInsertionsRemovalsAndReplacements) {
  EXPECT_EQ(nearest_name("hilbrt", {"identity", "hilbert", "snake"}), "hilbert");
  EXPECT_EQ(nearest_name("snakes", {"identity", "hilbert", "snake"}), "snake");
  EXPECT_EQ(nearest_name("identitz", {"hilbert", "identity", "snake"}), "identity");
  EXPECT_EQ(nearest_name("", {"zigzag", "kv"}), "kv");
  EXPECT_EQ(nearest_name("kv", {"qkv", "kv"}), "kv");
}

}  // namespace
}  // namespace hilbertring

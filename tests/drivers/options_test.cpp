#include "drivers/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "core/specification.h"
#include "drivers/commands.h"
#include "drivers/pattern_options.h"

namespace hilbertring {
namespace {

CommandSyntax small_syntax() {
  return {
      "cook", "Cooks.", {"DISH"}, {{"Options", {{"minutes", "M", "time"}, {"quiet", "", "no words"}, {"output", "FILE", "plate", 'o'}}}}, "cook x"};
}

std::string refusal(const std::vector<std::string>& words) {
  try {
    parse_arguments(small_syntax(), words)->integer_or("minutes", 0, 1);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

TEST(Options, TakesOperandsValuesAndFlagsInAnyOrder) {
  const std::vector<std::string> words = {"--quiet", "soup", "-o", "plate", "--minutes=5"};

  const auto arguments = parse_arguments(small_syntax(), words);

  ASSERT_TRUE(arguments.has_value());
  EXPECT_EQ(arguments->operand(0), "soup");
  EXPECT_EQ(arguments->required_text("output"), "plate");
  EXPECT_EQ(arguments->required_integer("minutes", 1), 5);
  EXPECT_TRUE(arguments->has("quiet"));
}

TEST(Options, FlagThatIsNotGivenIsAbsent) { EXPECT_FALSE(parse_arguments(small_syntax(), std::vector<std::string>{"soup"})->has("quiet")); }

TEST(Options, HelpWinsOverMissingOperands) { EXPECT_FALSE(parse_arguments(small_syntax(), std::vector<std::string>{"--help"}).has_value()); }

TEST(Options, OnlyAnOperandInBracketsMayBeLeftOut) {
  CommandSyntax syntax = small_syntax();
  syntax.operands = {"DISH", "[SAUCE]"};

  EXPECT_EQ(parse_arguments(syntax, std::vector<std::string>{"soup"})->num_operands(), 1U);
  EXPECT_EQ(parse_arguments(syntax, std::vector<std::string>{"soup", "salsa"})->num_operands(), 2U);
  EXPECT_THROW(parse_arguments(syntax, std::vector<std::string>{}), Error);
}

TEST(Options, NamesTheNearestOption) { EXPECT_EQ(refusal({"soup", "--minuts", "3"}), "unknown option '--minuts'; did you mean '--minutes'?"); }

TEST(Options, GuessesNoAbbreviations) { EXPECT_EQ(refusal({"soup", "--min", "3"}), "unknown option '--min'; did you mean '--minutes'?"); }

TEST(Options, RefusesWhatItCannotSortOut) {
  EXPECT_EQ(refusal({}), "cook needs DISH; see 'hilbertring cook --help'");
  EXPECT_EQ(refusal({"soup", "salad"}), "cook does not know what to do with 'salad'; see 'hilbertring cook --help'");
  EXPECT_EQ(refusal({"soup", "--minutes"}), "option '--minutes' needs a value");
  EXPECT_EQ(refusal({"soup", "--minutes", "1", "--minutes", "2"}), "option '--minutes' is given twice, but may stand once");
  EXPECT_EQ(refusal({"soup", "--quiet=1"}), "option '--quiet' takes no value");
}

TEST(Options, RefusesNumbersThatAreNone) {
  for (const std::string text : {"0", "-3", "x", "3x", "3.5", "99999999999999999999"}) {
    EXPECT_EQ(refusal({"soup", "--minutes", text}), "--minutes is '" + text + "', but must be a whole number of at least 1");
  }
}

TEST(PatternOptions, CoverEveryKeyOfTheSpecification) {
  std::vector<std::string> keys;
  for (const OptionEntry& entry : pattern_options().entries) {
    std::string key = entry.name;
    std::replace(key.begin(), key.end(), '-', '_');
    if (key != "preset") keys.push_back(key);
  }
  std::vector<std::string> expected = specification_keys();
  std::sort(keys.begin(), keys.end());
  std::sort(expected.begin(), expected.end());

  EXPECT_EQ(keys, expected);
}

TEST(PatternOptions, PresetKeepsWhatItDoesNotSpeakOf) {
  Specification base;
  base.scale = 2.0;
  base.grid = {8, 8};
  base.chunk = 16;
  base.placement = Placement::kZigzag;
  base.causal = Causal::kSequence;
  const Arguments arguments("run", {}, {{"preset", "dense"}, {"dilation-rates", "2"}});
  std::ostringstream out;

  const Specification specification = with_pattern_options(base, arguments, {.tokens = 64, .head_dim = 8}, out);

  EXPECT_EQ(specification.scale, 2.0);
  EXPECT_EQ(specification.grid, base.grid);
  EXPECT_EQ(specification.chunk, 16);
  EXPECT_EQ(specification.placement, Placement::kZigzag);
  EXPECT_EQ(specification.causal, Causal::kNone);
  EXPECT_EQ(specification.segment_lengths, std::vector<std::int64_t>{64});
  EXPECT_EQ(specification.dilation_rates, std::vector<std::int64_t>{2});
  EXPECT_NE(out.str().find("preset dense: "), std::string::npos);
}

}  // namespace
}  // namespace hilbertring

#include "core/specification.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"
#include "tests/core/random_specification.h"

namespace hilbertring {
namespace {

constexpr Shape kShape{.batch = 1, .tokens = 1000, .heads = 4, .kv_heads = 2, .head_dim = 64};

Specification good() {
  Specification s;
  s.segment_lengths = {64, 256};
  s.dilation_rates = {1, 4};
  return s;
}

/// The text of the refusal of the expected kind, or "accepted".
std::string refusal_of(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "accepted";
}

std::string validation_of(const std::function<void(Specification&)>& change) {
  Specification s = good();
  change(s);
  return refusal_of(ErrorKind::kUsage, [&] { s.validate(kShape); });
}

TEST(SpecificationTest, AcceptsGoodOnes) {
  EXPECT_EQ(validation_of([](auto&) {}), "accepted");
  EXPECT_EQ(validation_of([](auto& s) { s.segment_lengths[1] = 5000; }), "accepted") << "a segment longer than N is one segment";
  EXPECT_EQ(validation_of([](auto& s) { s.segment_lengths = s.dilation_rates = {4, 4, 4, 4, 4}; }), "accepted");
  EXPECT_EQ(validation_of([](auto& s) {
              s.branch_heads = BranchHeads::kSplit, s.segment_lengths = s.dilation_rates = {1, 1, 1, 1, 1};
            }),
            "accepted")
      << "more branches than heads: some branches have no head";
  EXPECT_EQ(validation_of([](auto& s) { s.grid = {25, 40}; }), "accepted");
  EXPECT_EQ(validation_of([](auto& s) { s.grid = {4, 5}, s.curve_chunk = 20; }), "accepted") << "each run of the curve lies on its own grid";
}

TEST(SpecificationTest, RefusesBadBranches) {
  EXPECT_EQ(validation_of([](auto& s) { s.segment_lengths.clear(); }), "segment_lengths is empty, but must have at least one length");
  EXPECT_EQ(validation_of([](auto& s) { s.dilation_rates.clear(); }), "dilation_rates is empty, but must have at least one rate");
  EXPECT_EQ(validation_of([](auto& s) { s.segment_lengths.push_back(8); }),
            "segment_lengths has 3 entries and dilation_rates has 2, but both must have one per branch");
  EXPECT_EQ(validation_of([](auto& s) { s.segment_lengths[1] = 0; }), "segment_lengths[1] is 0, but must be at least 1");
  EXPECT_EQ(validation_of([](auto& s) { s.dilation_rates[0] = -2; }), "dilation_rates[0] is -2, but must be at least 1");
  EXPECT_EQ(validation_of([](auto& s) { s.dilation_rates[1] = 257; }),
            "dilation_rates[1] is 257, but must not exceed segment_lengths[1], which is 256");
}

TEST(SpecificationTest, RefusesNegativeChunks) {
  EXPECT_EQ(validation_of([](auto& s) { s.curve_chunk = -1; }), "curve_chunk is -1, but must be at least 0");
  EXPECT_EQ(validation_of([](auto& s) { s.chunk = -8; }), "chunk is -8, but must be at least 0");
}

TEST(SpecificationTest, RefusesGridsThatDoNotHoldTheTokens) {
  EXPECT_EQ(validation_of([](auto& s) { s.grid = {1000}; }), "grid has 1 sides, but must have 2 (rows, cols) or 3 (planes, rows, cols)");
  EXPECT_EQ(validation_of([](auto& s) { s.grid = {10, 10, 10, 10}; }), "grid has 4 sides, but must have 2 (rows, cols) or 3 (planes, rows, cols)");
  EXPECT_EQ(validation_of([](auto& s) { s.grid = {0, 1000}; }), "grid[0] is 0, but must be at least 1");
  EXPECT_EQ(validation_of([](auto& s) {
              s.grid = {9, 10, 11};
            }),
            "grid is 9x10x11, which is 990 cells, but must have at least 1000, the tokens of one run of the curve");
  EXPECT_EQ(validation_of([](auto& s) {
              s.grid = {3, 3}, s.curve_chunk = 10;
            }),
            "grid is 3x3, which is 9 cells, but must have at least 10, the tokens of one run of the curve");
  EXPECT_EQ(validation_of([](auto& s) {
              s.grid = {std::int64_t{1} << 40, std::int64_t{1} << 40};
            }),
            "grid is 1099511627776x1099511627776, but must have at most 2^62 cells");
}

TEST(SpecificationTest, RefusesScalesThatAreNoScale) {
  EXPECT_EQ(validation_of([](auto& s) { s.scale = 0.0; }), "scale is 0, but must be finite and not 0");
  EXPECT_EQ(validation_of([](auto& s) { s.scale = std::numeric_limits<double>::infinity(); }), "scale is inf, but must be finite and not 0");
  EXPECT_EQ(validation_of([](auto& s) { s.scale = std::nan(""); }), "scale is nan, but must be finite and not 0");
}

TEST(SpecificationTest, ScaleDefaultsToTheInverseRootOfTheHeadDimension) {
  Specification s = good();

  EXPECT_EQ(s.scale_for(kShape), 0.125);
  s.scale = -3.0;
  EXPECT_EQ(s.scale_for(kShape), -3.0);
}

std::int64_t automatic_chunk(std::int64_t tokens, std::vector<std::int64_t> segment_lengths, std::vector<std::int64_t> dilation_rates) {
  Specification s;
  s.segment_lengths = std::move(segment_lengths);
  s.dilation_rates = std::move(dilation_rates);
  return s.chunk_for({.batch = 1, .tokens = tokens, .heads = 1, .kv_heads = 1, .head_dim = 8});
}

TEST(SpecificationTest, AutomaticChunkFollowsItsRule) {
  EXPECT_EQ(automatic_chunk(1 << 20, {1 << 20}, {1}), 16384) << "N / 64";
  EXPECT_EQ(automatic_chunk((1 << 20) + 1, {1024}, {1}), 32768) << "rounded up to a power of two";
  EXPECT_EQ(automatic_chunk(8192, {8192}, {1}), 512) << "at least 512";
  EXPECT_EQ(automatic_chunk(1'000'000'000, {2048}, {1}), 65536) << "at most 65536";
  EXPECT_EQ(automatic_chunk(1 << 20, {1 << 20}, {300}), 32768) << "64 rows of a dilated run";
  EXPECT_EQ(automatic_chunk(1 << 20, {1 << 20}, {1 << 20}), 131072) << "but at least 8 chunks";
  EXPECT_EQ(automatic_chunk(2048, {2048}, {1}), 256) << "at least 8 chunks";
  EXPECT_EQ(automatic_chunk(511, {511}, {1}), 511) << "too short to cut";
  EXPECT_EQ(automatic_chunk(1, {1}, {1}), 1);
  EXPECT_EQ(automatic_chunk(1 << 20, {1000, 3000, 4096, 20000}, {1, 1, 1, 1}), 15000) << "a multiple of the longest odd length that fits";
}

TEST(SpecificationTest, AutomaticChunkIsAlwaysUsable) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    Draw draw(seed);
    Specification s = draw_specification(draw, {.tokens = std::int64_t{1} << draw.between(0, 40), .head_dim = 8});
    s.chunk = 0;
    const std::int64_t tokens = draw.between(1, std::int64_t{1} << draw.between(0, 40));

    const std::int64_t chunk = s.chunk_for({.tokens = tokens, .head_dim = 8});

    EXPECT_GE(chunk, 1) << "seed " << seed;
    EXPECT_LE(chunk, tokens) << "seed " << seed;
    EXPECT_TRUE(tokens < 512 || chunk <= tokens / 8) << "seed " << seed;
  }
}

TEST(SpecificationTest, GivenChunkIsKeptUpToTheSequence) {
  Specification s = good();

  s.chunk = 96;
  EXPECT_EQ(s.chunk_for(kShape), 96);
  s.chunk = 5000;
  EXPECT_EQ(s.chunk_for(kShape), 1000);
}

TEST(PresetTest, EveryPresetIsValidForEveryLength) {
  for (const std::string& name : preset_names()) {
    for (const std::int64_t tokens : {1, 100, 2048, 8192, 100'000}) {
      const Shape shape{.batch = 1, .tokens = tokens, .heads = 3, .kv_heads = 1, .head_dim = 64};

      const Preset p = preset(name, shape);

      EXPECT_EQ(p.name, name);
      EXPECT_FALSE(p.meaning.empty()) << name;
      EXPECT_NO_THROW(p.specification.validate(shape)) << name << " " << tokens;
    }
  }
}

TEST(PresetTest, PresetsAreWhatTheySay) {
  const Shape shape{.batch = 1, .tokens = 10000, .heads = 4, .kv_heads = 4, .head_dim = 64};
  const auto json_of = [&](const char* name) { return to_json(preset(name, shape).specification); };

  EXPECT_EQ(json_of("dense"),
            R"({"segment_lengths":[10000],"dilation_rates":[1],"branch_heads":"all","dilate":"qkv","offset":"zero","causal":"none",)"
            R"("curve":"identity","curve_chunk":0,"curve_on":"qkv","chunk":0,"placement":"contiguous"})");
  EXPECT_EQ(json_of("longnet"),
            R"({"segment_lengths":[2048,8192],"dilation_rates":[1,4],"branch_heads":"all","dilate":"qkv","offset":"head-mod","causal":"none",)"
            R"("curve":"identity","curve_chunk":0,"curve_on":"qkv","chunk":0,"placement":"contiguous"})");
  EXPECT_EQ(json_of("torchscale"),
            R"({"segment_lengths":[2048,8192],"dilation_rates":[1,4],"branch_heads":"all","dilate":"qkv","offset":"head-block","causal":"none",)"
            R"("curve":"identity","curve_chunk":0,"curve_on":"qkv","chunk":0,"placement":"contiguous"})");
  EXPECT_EQ(json_of("ring-dilated-hilbert"),
            R"({"segment_lengths":[2048,8192],"dilation_rates":[1,4],"branch_heads":"split","dilate":"kv","offset":"zero","causal":"none",)"
            R"("curve":"hilbert","curve_chunk":0,"curve_on":"qkv","chunk":0,"placement":"contiguous"})");
  EXPECT_EQ(json_of("hilbert-core"),
            R"({"segment_lengths":[2048],"dilation_rates":[4],"branch_heads":"all","dilate":"kv","offset":"zero","causal":"none",)"
            R"("curve":"hilbert","curve_chunk":0,"curve_on":"kv","chunk":0,"placement":"contiguous"})");
}

TEST(PresetTest, UnknownPresetNamesTheNearest) {
  EXPECT_EQ(refusal_of(ErrorKind::kUsage, [] { preset("longnets", kShape); }), "unknown preset 'longnets'; did you mean 'longnet'?");
}

}  // namespace
}  // namespace hilbertring

#include "core/pattern.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "tests/core/random_specification.h"

namespace hilbertring {
namespace {

using PositionRun = hilbertring::Run;  // inside a TEST, Run is GoogleTest's

constexpr std::uint64_t kNumDraws = 400;

Range<Position> positions(std::int64_t begin, std::int64_t end) { return {Position(begin), Position(end)}; }

/// How often each key counts for each query, before causality or after it: [query][key].
using Matrix = std::vector<std::vector<std::int64_t>>;

Matrix empty_matrix(std::int64_t n) { return Matrix(static_cast<std::size_t>(n), std::vector<std::int64_t>(static_cast<std::size_t>(n))); }

std::int64_t& entry(Matrix& m, Position query, Position key) { return m[static_cast<std::size_t>(query.value)][static_cast<std::size_t>(key.value)]; }

/// SPEC.md section 3 once more, straight from its words: whether branch `index` lets `query` attend to `key` for `head`, before causality.
bool spec_allows(const Specification& s, const Shape& shape, std::int64_t index, std::int64_t head, std::int64_t query, std::int64_t key) {
  const auto num_branches = static_cast<std::int64_t>(s.segment_lengths.size());
  const std::int64_t w = std::min(s.segment_lengths[static_cast<std::size_t>(index)], shape.tokens);
  const std::int64_t r = s.dilation_rates[static_cast<std::size_t>(index)];
  if (s.branch_heads == BranchHeads::kSplit) {
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < index; ++i) first += shape.heads / num_branches + (i < shape.heads % num_branches ? 1 : 0);
    const std::int64_t end = first + shape.heads / num_branches + (index < shape.heads % num_branches ? 1 : 0);
    if (head < first || head >= end) return false;
  }
  std::int64_t offset = 0;
  if (s.offset == Offset::kHeadMod) offset = head % r;
  if (s.offset == Offset::kHeadBlock) offset = head / ((shape.heads + r - 1) / r);
  if (query / w != key / w || (key % w) % r != offset) return false;
  return s.dilate == Dilate::kKv || (query % w) % r == offset;
}

/// A drawn pattern, two drawn ranges, and the times of every position.
struct Scene {
  explicit Scene(std::uint64_t seed)
      : draw(seed),
        shape(draw_shape(draw, 40)),
        specification(draw_specification(draw, shape)),
        pattern(specification, shape),
        queries(draw_range()),
        keys(draw_range()),
        query_times(draw.permutation(shape.tokens)),
        key_times(draw.permutation(shape.tokens)),
        text("seed " + std::to_string(seed) + ", " + to_string(shape) + ", " + to_json(specification)) {}

  Range<Position> draw_range() {
    const std::int64_t begin = draw.between(0, shape.tokens);
    return positions(begin, draw.between(begin, shape.tokens));
  }
  static std::span<const std::int64_t> slice(const std::vector<std::int64_t>& times, Range<Position> range) {
    return std::span(times).subspan(static_cast<std::size_t>(range.begin.value), static_cast<std::size_t>(range.size()));
  }
  bool causality_allows(std::int64_t query, std::int64_t key) const {
    if (specification.causal == Causal::kPosition) return key <= query;
    if (specification.causal == Causal::kSequence) return key_times[static_cast<std::size_t>(key)] <= query_times[static_cast<std::size_t>(query)];
    return true;
  }
  /// Calls `check(branch, index, head)` for every branch and head that takes part in it.
  template <class Check>
  void for_each_branch_and_head(Check&& check) const {
    for (std::int64_t index = 0; index < pattern.num_branches(); ++index) {
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        if (pattern.branch(index).has_head(head)) check(pattern.branch(index), index, head);
      }
    }
  }

  Draw draw;
  Shape shape;
  Specification specification;
  Pattern pattern;
  Range<Position> queries;
  Range<Position> keys;
  std::vector<std::int64_t> query_times;
  std::vector<std::int64_t> key_times;
  std::string text;
};

TEST(PatternTest, ElementTestIsTheSpecifications) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    for (std::int64_t index = 0; index < scene.pattern.num_branches(); ++index) {
      for (std::int64_t head = 0; head < scene.shape.heads; ++head) {
        for (std::int64_t i = 0; i < scene.shape.tokens; ++i) {
          for (std::int64_t j = 0; j < scene.shape.tokens; ++j) {
            const Branch& branch = scene.pattern.branch(index);
            const bool is_allowed = branch.has_head(head) && branch.allows(head, Position(i), Position(j));
            ASSERT_EQ(is_allowed, spec_allows(scene.specification, scene.shape, index, head, i, j)) << scene.text;
          }
        }
      }
    }
  }
}

TEST(PatternTest, BlocksHoldEachAllowedPairExactlyOnce) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    scene.for_each_branch_and_head([&](const Branch& branch, std::int64_t, std::int64_t head) {
      Matrix from_blocks = empty_matrix(scene.shape.tokens), from_elements = empty_matrix(scene.shape.tokens);
      std::vector<Block> blocks;

      branch.append_blocks(head, scene.queries, scene.keys, blocks);

      for (const Block& block : blocks) {
        ASSERT_GT(block.queries.count * block.keys.count, 0) << scene.text;
        for (std::int64_t i = 0; i < block.queries.count; ++i) {
          for (std::int64_t j = 0; j < block.keys.count; ++j) {
            ASSERT_TRUE(scene.queries.contains(block.queries[i]) && scene.keys.contains(block.keys[j])) << scene.text;
            if (block.all_pairs || branch.allows(head, block.queries[i], block.keys[j])) ++entry(from_blocks, block.queries[i], block.keys[j]);
          }
        }
      }
      for (Position i = scene.queries.begin; i < scene.queries.end; ++i) {
        for (Position j = scene.keys.begin; j < scene.keys.end; ++j) entry(from_elements, i, j) = branch.allows(head, i, j) ? 1 : 0;
      }
      ASSERT_EQ(from_blocks, from_elements) << scene.text;
    });
  }
}

TEST(PatternTest, KeysOfAQueryAscendThroughItsBlocks) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    scene.for_each_branch_and_head([&](const Branch& branch, std::int64_t, std::int64_t head) {
      std::vector<Position> last_key(static_cast<std::size_t>(scene.shape.tokens), Position(-1));
      std::vector<Block> blocks;

      branch.append_blocks(head, scene.queries, scene.keys, blocks);

      for (const Block& block : blocks) {
        for (std::int64_t i = 0; i < block.queries.count; ++i) {
          Position& last = last_key[static_cast<std::size_t>(block.queries[i].value)];
          ASSERT_LT(last, block.keys[0]) << scene.text;
          last = block.keys[block.keys.count - 1];
        }
      }
    });
  }
}

std::vector<Position> positions_of(const std::vector<PositionRun>& runs) {
  std::vector<Position> result;
  for (const Run& run : runs) {
    for (std::int64_t i = 0; i < run.count; ++i) result.push_back(run[i]);
  }
  std::sort(result.begin(), result.end());
  return result;
}

TEST(PatternTest, NeededKeysAndQueriesAreExactAndDisjoint) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    scene.for_each_branch_and_head([&](const Branch& branch, std::int64_t, std::int64_t head) {
      std::vector<Position> expected_keys, expected_queries;
      for (Position j = scene.keys.begin; j < scene.keys.end; ++j) {
        bool is_needed = false;
        for (Position i = scene.queries.begin; i < scene.queries.end; ++i) is_needed |= branch.allows(head, i, j);
        if (is_needed) expected_keys.push_back(j);
      }
      for (Position i = scene.queries.begin; i < scene.queries.end; ++i) {
        bool is_needed = false;
        for (Position j = scene.keys.begin; j < scene.keys.end; ++j) is_needed |= branch.allows(head, i, j);
        if (is_needed) expected_queries.push_back(i);
      }
      std::vector<PositionRun> keys, queries;

      branch.append_needed_keys(head, scene.queries, scene.keys, keys);
      branch.append_needed_queries(head, scene.queries, scene.keys, queries);

      ASSERT_EQ(positions_of(keys), expected_keys) << scene.text;
      ASSERT_EQ(positions_of(queries), expected_queries) << scene.text;
    });
  }
}

TEST(PatternTest, NeededRunsAreAppendedAndJoined) {
  const Pattern pattern({.segment_lengths = {8}, .dilation_rates = {4}, .dilate = Dilate::kKv}, {.batch = 1, .tokens = 64, .head_dim = 8});
  const PositionRun earlier{.first = Position(12), .stride = 4, .count = 1};
  std::vector<PositionRun> runs = {earlier};

  pattern.branch(0).append_needed_keys(0, positions(0, 64), positions(16, 48), runs);

  EXPECT_EQ(runs, (std::vector<PositionRun>{earlier, {.first = Position(16), .stride = 4, .count = 8}}));
}

TEST(PatternTest, HullsHoldEveryPartnerAndStayInsideTheSegments) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    scene.for_each_branch_and_head([&](const Branch& branch, std::int64_t index, std::int64_t head) {
      const std::int64_t w = std::min(scene.specification.segment_lengths[static_cast<std::size_t>(index)], scene.shape.tokens);

      const Range<Position> key_hull = branch.key_hull(scene.queries);
      const Range<Position> query_hull = branch.query_hull(scene.keys);

      ASSERT_TRUE(key_hull.size() <= scene.queries.size() + 2 * (w - 1) && query_hull.size() <= scene.keys.size() + 2 * (w - 1)) << scene.text;
      ASSERT_TRUE(scene.queries.is_empty() == key_hull.is_empty() && scene.keys.is_empty() == query_hull.is_empty()) << scene.text;
      const Range<Position> all = positions(0, scene.shape.tokens);
      for (Position i = all.begin; i < all.end; ++i) {
        for (Position j = all.begin; j < all.end; ++j) {
          if (!branch.allows(head, i, j)) continue;
          ASSERT_TRUE(!scene.queries.contains(i) || key_hull.contains(j)) << scene.text;
          ASSERT_TRUE(!scene.keys.contains(j) || query_hull.contains(i)) << scene.text;
        }
      }
    });
  }
}

std::int64_t count_one_by_one(const Scene& scene) {
  std::int64_t count = 0;
  scene.for_each_branch_and_head([&](const Branch& branch, std::int64_t, std::int64_t head) {
    for (Position i = scene.queries.begin; i < scene.queries.end; ++i) {
      for (Position j = scene.keys.begin; j < scene.keys.end; ++j) {
        count += branch.allows(head, i, j) && scene.causality_allows(i.value, j.value) ? 1 : 0;
      }
    }
  });
  return count;
}

TEST(PatternTest, PairCountEqualsCountingOneByOne) {
  for (std::uint64_t seed = 0; seed < 3 * kNumDraws; ++seed) {
    const Scene scene(seed);
    const bool needs_times = scene.specification.causal == Causal::kSequence;
    const std::span<const std::int64_t> no_times;

    const std::int64_t count =
        count_allowed_pairs(scene.pattern, scene.queries, scene.keys, needs_times ? Scene::slice(scene.query_times, scene.queries) : no_times,
                            needs_times ? Scene::slice(scene.key_times, scene.keys) : no_times);

    ASSERT_EQ(count, count_one_by_one(scene)) << scene.text;
  }
}

TEST(PatternTest, CausalPairCountEqualsCountingOneByOne) {
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    Draw draw(seed);
    const PositionRun queries{.first = Position(draw.between(0, 60)), .stride = draw.between(1, 9), .count = draw.between(0, 12)};
    const PositionRun keys{.first = Position(draw.between(0, 60)), .stride = draw.between(1, 9), .count = draw.between(0, 12)};
    std::int64_t expected = 0;
    for (std::int64_t i = 0; i < queries.count; ++i) {
      for (std::int64_t j = 0; j < keys.count; ++j) expected += keys[j] <= queries[i] ? 1 : 0;
    }

    EXPECT_EQ(count_causal_pairs(queries, keys), expected) << "seed " << seed;
  }
}

TEST(PatternTest, CountsABillionTokensInClosedForm) {
  constexpr std::int64_t kTokens = 1'000'000'000;
  const PositionRun all{.first = Position(0), .stride = 1, .count = kTokens};
  const PositionRun every_third{.first = Position(2), .stride = 3, .count = kTokens / 3};

  EXPECT_EQ(count_causal_pairs(all, all), kTokens * (kTokens + 1) / 2);
  EXPECT_EQ(count_causal_pairs(every_third, every_third), (kTokens / 3) * (kTokens / 3 + 1) / 2);
  // Key 2 + 3 j is seen by the N - 2 - 3 j queries from it on.
  EXPECT_EQ(count_causal_pairs(all, every_third), (kTokens / 3) * (kTokens - 2) - 3 * ((kTokens / 3) * (kTokens / 3 - 1) / 2));
}

TEST(PatternTest, TileClassTellsEmptyFullAndPartial) {
  const Shape shape{.batch = 1, .tokens = 16, .head_dim = 8};
  const Pattern causal({.segment_lengths = {16}, .dilation_rates = {1}, .causal = Causal::kPosition}, shape);
  const Pattern free({.segment_lengths = {16}, .dilation_rates = {1}}, shape);

  EXPECT_EQ(causal.causal_class(4, 7, 0, 4), TileClass::kFull);
  EXPECT_EQ(causal.causal_class(4, 7, 0, 5), TileClass::kPartial);
  EXPECT_EQ(causal.causal_class(4, 7, 7, 9), TileClass::kPartial);
  EXPECT_EQ(causal.causal_class(4, 7, 8, 9), TileClass::kEmpty);
  EXPECT_EQ(free.causal_class(4, 7, 8, 9), TileClass::kFull);
}

TEST(PatternTest, HeadsOfOneClassSeeTheSamePairs) {
  for (std::uint64_t seed = 0; seed < kNumDraws; ++seed) {
    const Scene scene(seed);
    const auto have_equal_kinds = [&](std::int64_t a, std::int64_t b) {
      for (std::int64_t index = 0; index < scene.pattern.num_branches(); ++index) {
        for (std::int64_t i = 0; i < scene.shape.tokens; ++i) {
          for (std::int64_t j = 0; j < scene.shape.tokens; ++j) {
            if (spec_allows(scene.specification, scene.shape, index, a, i, j) != spec_allows(scene.specification, scene.shape, index, b, i, j))
              return false;
          }
        }
      }
      return true;
    };

    for (std::int64_t a = 0; a < scene.shape.heads; ++a) {
      ASSERT_LT(scene.pattern.head_class(a), scene.pattern.num_head_classes()) << scene.text;
      for (std::int64_t b = 0; b < a; ++b) {
        if (scene.pattern.head_class(a) == scene.pattern.head_class(b)) {
          ASSERT_TRUE(have_equal_kinds(a, b)) << scene.text;
        }
      }
    }
  }
}

TEST(PatternTest, HeadClassesAreAsFewAsTheOffsetsAndBranchesMakeThem) {
  const Shape shape{.batch = 1, .tokens = 64, .heads = 8, .kv_heads = 8, .head_dim = 8};
  Specification s{.segment_lengths = {16, 64}, .dilation_rates = {2, 4}};

  EXPECT_EQ(Pattern(s, shape).num_head_classes(), 1);
  s.offset = Offset::kHeadMod;
  EXPECT_EQ(Pattern(s, shape).num_head_classes(), 4);
  s.offset = Offset::kZero;
  s.branch_heads = BranchHeads::kSplit;
  EXPECT_EQ(Pattern(s, shape).num_head_classes(), 2);
  EXPECT_EQ(Pattern(s, shape).head_class(3), Pattern(s, shape).head_class(0));
  EXPECT_NE(Pattern(s, shape).head_class(4), Pattern(s, shape).head_class(0));
}

/// A kind of branch that no specification names: keys within `radius` of the query, handed out as one product with pairs to be tested.
class Neighbourhood final : public Branch {
 public:
  explicit Neighbourhood(std::int64_t radius) : radius_(radius) {}

  bool has_head(std::int64_t) const override { return true; }
  std::int64_t head_kind(std::int64_t) const override { return 0; }
  bool allows(std::int64_t, Position query, Position key) const override { return std::abs(query - key) <= radius_; }
  void append_blocks(std::int64_t, Range<Position> queries, Range<Position> keys, std::vector<Block>& blocks) const override {
    blocks.push_back({.queries = whole(queries), .keys = whole(keys), .all_pairs = false});
  }
  void append_needed_keys(std::int64_t, Range<Position>, Range<Position> keys, std::vector<PositionRun>& runs) const override {
    runs.push_back(whole(keys));
  }
  void append_needed_queries(std::int64_t, Range<Position> queries, Range<Position>, std::vector<PositionRun>& runs) const override {
    runs.push_back(whole(queries));
  }
  Range<Position> key_hull(Range<Position> queries) const override { return {queries.begin - radius_, queries.end + radius_}; }
  Range<Position> query_hull(Range<Position> keys) const override { return {keys.begin - radius_, keys.end + radius_}; }

 private:
  static PositionRun whole(Range<Position> range) { return {.first = range.begin, .stride = 1, .count = range.size()}; }

  std::int64_t radius_;
};

TEST(PatternTest, CountsBlocksWhosePairsMustBeTested) {
  const std::vector<std::int64_t> descending_times = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  for (const auto& [causal, expected] : std::vector<std::pair<Causal, std::int64_t>>{
           {Causal::kNone, 16 + 2 * (15 + 14)}, {Causal::kPosition, 16 + 15 + 14}, {Causal::kSequence, 16 + 15 + 14}}) {
    std::vector<std::unique_ptr<const Branch>> branches;
    branches.push_back(std::make_unique<Neighbourhood>(2));
    const Pattern pattern({.batch = 1, .tokens = 16, .head_dim = 8}, causal, std::move(branches));

    EXPECT_EQ(count_allowed_pairs(pattern, positions(0, 16), positions(0, 16), descending_times, descending_times), expected);
  }
}

}  // namespace
}  // namespace hilbertring

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "core/pattern.h"

namespace hilbertring {
namespace {

/// How often each key counts for each query: [query][key].
using Matrix = std::array<std::array<int, 16>, 16>;

struct WrittenOutMask {
  std::string name;
  Specification specification;
  std::int64_t head;
  std::vector<std::int64_t> query_order, key_order;  ///< position -> sequence index, for sequence causality
  std::vector<std::string> rows;                     ///< one per query, one letter per key: '.', or how often the key counts
};

std::vector<std::int64_t> ascending() {
  std::vector<std::int64_t> result(16);
  std::iota(result.begin(), result.end(), 0);
  return result;
}

std::vector<std::int64_t> descending() {
  std::vector<std::int64_t> result = ascending();
  std::reverse(result.begin(), result.end());
  return result;
}

std::vector<std::string> repeated(std::int64_t count, const std::string& row) {
  return std::vector<std::string>(static_cast<std::size_t>(count), row);
}

std::vector<std::string> joined(std::initializer_list<std::vector<std::string>> parts) {
  std::vector<std::string> result;
  for (const auto& part : parts) result.insert(result.end(), part.begin(), part.end());
  return result;
}

/// Written by hand from SPEC.md, with 4 heads.
std::vector<WrittenOutMask> written_out_masks() {
  const std::string none = "................";
  return {
      {"queries, keys and values dilated, head-mod: head 1 has offset 1",
       {.segment_lengths = {8}, .dilation_rates = {2}, .offset = Offset::kHeadMod},
       1,
       {},
       {},
       {none, ".1.1.1.1........", none, ".1.1.1.1........", none, ".1.1.1.1........", none, ".1.1.1.1........",  //
        none, ".........1.1.1.1", none, ".........1.1.1.1", none, ".........1.1.1.1", none, ".........1.1.1.1"}},
      {"keys and values dilated, head-block: heads 2 and 3 have offset 1",
       {.segment_lengths = {8}, .dilation_rates = {2}, .dilate = Dilate::kKv, .offset = Offset::kHeadBlock},
       2,
       {},
       {},
       joined({repeated(8, ".1.1.1.1........"), repeated(8, ".........1.1.1.1")})},
      {"short last segment, position causality",
       {.segment_lengths = {6}, .dilation_rates = {3}, .dilate = Dilate::kKv, .causal = Causal::kPosition},
       0,
       {},
       {},
       {"1...............", "1...............", "1...............", "1..1............", "1..1............", "1..1............",  //
        "......1.........", "......1.........", "......1.........", "......1..1......", "......1..1......", "......1..1......",  //
        "............1...", "............1...", "............1...", "............1..1"}},
      {"short last segment without a key at the offset",
       {.segment_lengths = {5}, .dilation_rates = {4}, .dilate = Dilate::kKv, .offset = Offset::kHeadMod},
       3,
       {},
       {},
       joined({repeated(5, "...1............"), repeated(5, "........1......."), repeated(5, ".............1.."), repeated(1, none)})},
      {"two branches count twice where both allow",
       {.segment_lengths = {4, 40}, .dilation_rates = {1, 4}},
       0,
       {},
       {},
       {"2111"
        "1...1...1...",
        "1111............", "1111............", "1111............",  //
        "1...2111"
        "1...1...",
        "....1111........", "....1111........", "....1111........",  //
        "1...1...2111"
        "1...",
        "........1111....", "........1111....", "........1111....",  //
        "1...1...1...2111", "............1111", "............1111", "............1111"}},
      {"split heads: head 2 of 4 is the first of the second branch",
       {.segment_lengths = {16, 8}, .dilation_rates = {1, 4}, .branch_heads = BranchHeads::kSplit, .dilate = Dilate::kKv},
       2,
       {},
       {},
       joined({repeated(8, "1...1..........."), repeated(8, "........1...1...")})},
      {"sequence causality of a reversed sequence: positions run back in time",
       {.segment_lengths = {4}, .dilation_rates = {1}, .causal = Causal::kSequence},
       0,
       descending(),
       descending(),
       {"1111............", ".111............", "..11............", "...1............",  //
        "....1111........", ".....111........", "......11........", ".......1........",  //
        "........1111....", ".........111....", "..........11....", "...........1....",  //
        "............1111", ".............111", "..............11", "...............1"}},
      {"sequence causality with only the keys reordered: key 15 - t is the token t, in segments of 8 and every fourth key",
       {.segment_lengths = {8}, .dilation_rates = {4}, .dilate = Dilate::kKv, .causal = Causal::kSequence, .curve_on = CurveOn::kKv},
       0,
       ascending(),
       descending(),
       joined({repeated(8, none), repeated(8, "........1...1...")})},
  };
}

/// Multiplicities after causality for one head, from the element test or from the blocks.
template <class AddBranch>
std::vector<std::string> rows_of(const WrittenOutMask& mask, AddBranch&& add_branch) {
  const Pattern pattern(mask.specification, {.batch = 1, .tokens = 16, .heads = 4, .kv_heads = 4, .head_dim = 8});
  Matrix m = {};
  for (std::int64_t index = 0; index < pattern.num_branches(); ++index) {
    if (pattern.branch(index).has_head(mask.head)) add_branch(pattern.branch(index), m);
  }
  std::vector<std::string> rows;
  for (std::size_t i = 0; i < 16; ++i) {
    rows.emplace_back();
    for (std::size_t j = 0; j < 16; ++j) {
      const bool is_sequence = pattern.causal() == Causal::kSequence;
      const std::int64_t query_time = is_sequence ? mask.query_order[i] : static_cast<std::int64_t>(i);
      const std::int64_t key_time = is_sequence ? mask.key_order[j] : static_cast<std::int64_t>(j);
      const bool is_visible = !pattern.is_causal() || Pattern::causality_allows(query_time, key_time);
      rows.back() += is_visible && m[i][j] > 0 ? static_cast<char>('0' + m[i][j]) : '.';
    }
  }
  return rows;
}

bool is_allowed(const Branch& branch, std::int64_t head, std::size_t query, std::size_t key) {
  return branch.allows(head, Position(static_cast<std::int64_t>(query)), Position(static_cast<std::int64_t>(key)));
}

TEST(PatternMaskTest, EqualsWrittenOutMaskOn16Tokens) {
  for (const WrittenOutMask& mask : written_out_masks()) {
    const auto rows = rows_of(mask, [&](const Branch& branch, Matrix& m) {
      for (std::size_t i = 0; i < 16; ++i) {
        for (std::size_t j = 0; j < 16; ++j) m[i][j] += is_allowed(branch, mask.head, i, j) ? 1 : 0;
      }
    });

    EXPECT_EQ(rows, mask.rows) << mask.name;
  }
}

TEST(PatternMaskTest, BlocksEqualWrittenOutMaskOn16Tokens) {
  for (const WrittenOutMask& mask : written_out_masks()) {
    const auto rows = rows_of(mask, [&](const Branch& branch, Matrix& m) {
      std::vector<Block> blocks;
      branch.append_blocks(mask.head, {Position(0), Position(16)}, {Position(0), Position(16)}, blocks);
      for (const Block& block : blocks) {
        for (std::int64_t i = 0; i < block.queries.count; ++i) {
          for (std::int64_t j = 0; j < block.keys.count; ++j)
            ++m[static_cast<std::size_t>(block.queries[i].value)][static_cast<std::size_t>(block.keys[j].value)];
        }
      }
    });

    EXPECT_EQ(rows, mask.rows) << mask.name;
  }
}

}  // namespace
}  // namespace hilbertring

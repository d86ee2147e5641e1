#include "hilbert/order.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/random.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {
namespace {

std::int64_t draw_below(std::int64_t bound, std::uint64_t counter) {
  return static_cast<std::int64_t>(random_bits(1, 2, counter) % static_cast<std::uint64_t>(bound));
}

TEST(DefaultGrid, HasTheSmallestPowerOfTwoOfColumns) {
  EXPECT_EQ(default_grid(1), (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(default_grid(5), (std::vector<std::int64_t>{2, 4}));
  EXPECT_EQ(default_grid(16), (std::vector<std::int64_t>{4, 4}));
  EXPECT_EQ(default_grid(17), (std::vector<std::int64_t>{3, 8}));
  EXPECT_EQ(default_grid(1'000'000'000), (std::vector<std::int64_t>{30518, 32768}));
  EXPECT_EQ(default_grid(std::int64_t{1} << 60), (std::vector<std::int64_t>{std::int64_t{1} << 30, std::int64_t{1} << 30}));
}

TEST(Order, VisitsEveryTokenOnce) {
  for (const std::int64_t num_tokens : {1, 2, 30, 97, 500}) {
    for (const NamedOrder& named : all_orders(num_tokens)) {
      EXPECT_EQ(named.order->num_tokens(), num_tokens) << named.name;
      EXPECT_TRUE(is_permutation(filled(*named.order))) << named.name << " N " << num_tokens;
    }
  }
}

TEST(Order, InverseIsInverse) {
  for (const NamedOrder& named : all_orders(500)) {
    for (Position p(0); p < Position(500); ++p) {
      ASSERT_EQ(named.order->position(named.order->sequence_index(p)), p) << named.name << " position " << p.value;
    }
  }
}

TEST(Order, SkipsCellsWithoutATokenAndKeepsTheRest) {
  for (const Curve curve : {Curve::kHilbert, Curve::kSnake, Curve::kMorton}) {
    for (const std::vector<std::int64_t>& grid : {std::vector<std::int64_t>{9, 11}, {11, 9}, {3, 4, 9}}) {
      const std::vector<std::int64_t> whole = filled(*curve_order(curve, grid.size() == 2 ? 99 : 108, grid));
      for (std::int64_t num_tokens = 1; num_tokens < 99; ++num_tokens) {
        std::vector<std::int64_t> expected = whole;
        std::erase_if(expected, [&](std::int64_t t) { return t >= num_tokens; });

        EXPECT_EQ(filled(*curve_order(curve, num_tokens, grid)), expected) << "N " << num_tokens;
      }
    }
  }
}

TEST(Order, LaysTheCurveOverEveryRunApart) {
  // Printed by positions() of the specification's oracle: runs of 24, 24 and 13 tokens, on default grids and on 5 x 5.
  const std::vector<std::int64_t> on_default_grids{0,  1,  9,  8,  16, 17, 18, 19, 11, 10, 2,  3,  4,  5,  13, 12, 20, 21, 22, 23, 15,
                                                   14, 6,  7,  24, 25, 33, 32, 40, 41, 42, 43, 35, 34, 26, 27, 28, 29, 37, 36, 44, 45,
                                                   46, 47, 39, 38, 30, 31, 48, 49, 53, 52, 56, 60, 57, 58, 59, 55, 54, 50, 51};
  const std::vector<std::int64_t> on_five_by_five{0,  1,  6,  5,  10, 15, 20, 21, 16, 11, 12, 17, 22, 23, 19, 18, 13, 14, 9,  8,  7,
                                                  2,  3,  4,  24, 25, 30, 29, 34, 39, 44, 45, 40, 35, 36, 41, 46, 47, 43, 42, 37, 38,
                                                  33, 32, 31, 26, 27, 28, 48, 49, 54, 53, 58, 59, 60, 57, 56, 55, 50, 51, 52};

  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 61, {}, 24)), on_default_grids);
  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 61, {5, 5}, 24)), on_five_by_five);
}

TEST(Order, OfARunLongerThanTheSequenceIsOfTheWholeSequence) {
  EXPECT_EQ(filled(*curve_order(Curve::kHilbert, 61, {}, 1000)), filled(*curve_order(Curve::kHilbert, 61)));
}

TEST(SnakeAndMorton, EqualOracleCurves) {
  const std::vector<std::int64_t> snake{0, 1, 2, 3, 4, 9, 8, 7, 6, 5, 10, 11, 12};
  const std::vector<std::int64_t> morton{0, 1, 5, 6, 2, 3, 7, 8, 10, 11, 12, 4, 9};

  EXPECT_EQ(filled(*curve_order(Curve::kSnake, 13, {3, 5})), snake);
  EXPECT_EQ(filled(*curve_order(Curve::kMorton, 13, {3, 5})), morton);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kSnake, 400, {13, 32}))), 789040439820223157u);
  EXPECT_EQ(fingerprint(filled(*curve_order(Curve::kMorton, 400, {13, 32}))), 12824205426336248757u);
}

TEST(FileOrder, IsTheTable) {
  const auto table = std::make_shared<const std::vector<std::int64_t>>(std::vector<std::int64_t>{3, 0, 4, 1, 2});

  const auto order = make_order(curve_specification(Curve::kFile), 5, table);

  EXPECT_EQ(filled(*order), *table);
  EXPECT_EQ(order->sequence_index(Position(2)), SequenceIndex(4));
  EXPECT_EQ(order->position(SequenceIndex(4)), Position(2));
  EXPECT_EQ(order->hull({Position(1), Position(3)}), (Range<SequenceIndex>{SequenceIndex(0), SequenceIndex(5)}));
}

TEST(Orders, AreOneObjectUnlessOnlyKeysAreReordered) {
  Specification specification = curve_specification(Curve::kHilbert);

  const Orders both = make_orders(specification, 100);
  specification.curve_on = CurveOn::kKv;
  const Orders keys_only = make_orders(specification, 100);

  EXPECT_EQ(both.queries, both.keys);
  EXPECT_EQ(filled(*keys_only.queries), filled(*make_identity_order(100)));
  EXPECT_EQ(filled(*keys_only.keys), filled(*both.keys));
}

TEST(Order, NeedsNoTableForABillionTokens) {
  const std::int64_t num_tokens = 1'000'000'007;
  constexpr std::uint64_t kSamples = 1000;
  for (const NamedOrder& named :
       {NamedOrder{"hilbert", curve_order(Curve::kHilbert, num_tokens)},
        NamedOrder{"box", curve_order(Curve::kHilbert, num_tokens, {1000, 1001, 1003})}, NamedOrder{"snake", curve_order(Curve::kSnake, num_tokens)},
        NamedOrder{"morton", curve_order(Curve::kMorton, num_tokens)}, NamedOrder{"runs", curve_order(Curve::kHilbert, num_tokens, {}, 1'000'000)}}) {
    const auto start = std::chrono::steady_clock::now();

    for (std::uint64_t i = 0; i < kSamples; ++i) {
      const Position p(draw_below(num_tokens, i));
      ASSERT_EQ(named.order->position(named.order->sequence_index(p)), p) << named.name;
    }

    // 2000 look-ups in microseconds each: a table would take seconds. The limit leaves room for sanitizers and busy machines.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2)) << named.name;
  }
}

TEST(Order, DoesNotOverflowOnHugeSequences) {
  for (const std::int64_t num_tokens : {(std::int64_t{1} << 40) + 12345, (std::int64_t{1} << 60) - 1}) {
    const std::vector<std::vector<std::int64_t>> grids{{}, {1, num_tokens}, {num_tokens, 1}, {1 << 20, 1 << 20, 1 << 20}};
    for (const Curve curve : {Curve::kHilbert, Curve::kSnake, Curve::kMorton}) {
      for (const std::vector<std::int64_t>& grid : grids) {
        const auto order = curve_order(curve, num_tokens, grid);
        for (std::uint64_t i = 0; i < 20; ++i) {
          const Position p(i == 0 ? num_tokens - 1 : draw_below(num_tokens, i));
          const SequenceIndex t = order->sequence_index(p);

          ASSERT_EQ(order->position(t), p);
          ASSERT_EQ(filled(*order, {p, p + 1}), std::vector<std::int64_t>{t.value});
          ASSERT_EQ(order->hull({p, p + 1}), (Range<SequenceIndex>{t, t + 1}));
        }
      }
    }
  }
}

}  // namespace
}  // namespace hilbertring::testing

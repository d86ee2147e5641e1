#include <gtest/gtest.h>

#include <algorithm>

#include "core/random.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {
namespace {

Range<Position> draw_range(std::int64_t num_tokens, std::uint64_t counter) {
  const auto bound = static_cast<std::uint64_t>(num_tokens) + 1;
  auto begin = static_cast<std::int64_t>(random_bits(3, 0, counter) % bound), end = static_cast<std::int64_t>(random_bits(3, 1, counter) % bound);
  if (begin > end) std::swap(begin, end);
  return {Position(begin), Position(end)};
}

TEST(Order, FillEqualsSequenceIndex) {
  for (const NamedOrder& named : all_orders(397)) {
    for (std::uint64_t i = 0; i < 30; ++i) {
      const Range<Position> range = draw_range(397, i);
      std::vector<std::int64_t> expected;
      for (Position p = range.begin; p < range.end; ++p) expected.push_back(named.order->sequence_index(p).value);

      ASSERT_EQ(filled(*named.order, range), expected) << named.name << " [" << range.begin.value << ", " << range.end.value << ")";
    }
  }
}

TEST(Order, FillWritesNothingOutsideItsSpan) {
  for (const NamedOrder& named : all_orders(100)) {
    std::vector<std::int64_t> entries(42, -7);

    named.order->fill({Position(33), Position(73)}, std::span(entries).subspan(1, 40));

    EXPECT_EQ(entries.front(), -7) << named.name;
    EXPECT_EQ(entries.back(), -7) << named.name;
  }
}

TEST(Order, HullEqualsBruteForce) {
  for (const std::int64_t num_tokens : {30, 397}) {
    for (const NamedOrder& named : all_orders(num_tokens)) {
      const std::vector<std::int64_t> order = filled(*named.order);
      for (std::uint64_t i = 0; i < 100; ++i) {
        const Range<Position> range = draw_range(num_tokens, i);
        if (range.is_empty()) continue;
        const auto [lowest, highest] = std::minmax_element(order.begin() + range.begin.value, order.begin() + range.end.value);

        ASSERT_EQ(named.order->hull(range), (Range<SequenceIndex>{SequenceIndex(*lowest), SequenceIndex(*highest + 1)}))
            << named.name << " [" << range.begin.value << ", " << range.end.value << ")";
      }
    }
  }
}

TEST(Order, HullEqualsBruteForceForEveryNumberOfTokens) {
  for (const Curve curve : {Curve::kHilbert, Curve::kSnake, Curve::kMorton}) {
    for (std::int64_t num_tokens = 1; num_tokens <= 60; ++num_tokens) {
      const auto in_space = curve_order(curve, num_tokens, {3, 4, 5});
      const std::vector<std::int64_t> order = filled(*in_space);
      for (std::int64_t begin = 0; begin < num_tokens; ++begin) {
        for (std::int64_t end = begin + 1; end <= num_tokens; ++end) {
          const auto [lowest, highest] = std::minmax_element(order.begin() + begin, order.begin() + end);

          ASSERT_EQ(in_space->hull({Position(begin), Position(end)}), (Range<SequenceIndex>{SequenceIndex(*lowest), SequenceIndex(*highest + 1)}))
              << "N " << num_tokens << " [" << begin << ", " << end << ")";
        }
      }
    }
  }
}

}  // namespace
}  // namespace hilbertring::testing

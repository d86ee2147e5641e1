#include "drivers/random_order.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace hilbertring {
namespace {

TEST(RandomOrder, IsAPermutationOfAnyLength) {
  for (const std::int64_t n : {1, 2, 3, 4, 5, 63, 64, 65, 1000, 4097}) {
    std::vector<std::int64_t> order = random_order(n, 5);

    std::sort(order.begin(), order.end());
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i) << "n = " << n;
  }
}

TEST(RandomOrder, DependsOnTheSeedAlone) {
  EXPECT_EQ(random_order(1000, 1), random_order(1000, 1));
  EXPECT_NE(random_order(1000, 1), random_order(1000, 2));
}

TEST(RandomOrder, LeavesFewTokensInPlace) {
  const std::vector<std::int64_t> order = random_order(10000, 3);

  std::int64_t num_fixed = 0;
  for (std::size_t i = 0; i < order.size(); ++i) num_fixed += order[i] == static_cast<std::int64_t>(i) ? 1 : 0;
  EXPECT_LT(num_fixed, 10);
}

}  // namespace
}  // namespace hilbertring

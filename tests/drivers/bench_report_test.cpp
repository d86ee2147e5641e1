#include "drivers/bench_report.h"

#include <gtest/gtest.h>

namespace hilbertring {
namespace {

TEST(BenchReport, MedianIsTheMiddleOrTheMeanOfBothMiddles) {
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_DOUBLE_EQ(median({7}), 7);
}

TEST(BenchReport, Percentile95IsTheNearestRank) {
  std::vector<double> hundred;
  for (int i = 100; i > 0; --i) hundred.push_back(i);

  EXPECT_DOUBLE_EQ(percentile_95(hundred), 95);
  EXPECT_DOUBLE_EQ(percentile_95({1, 5, 3}), 5);
  EXPECT_DOUBLE_EQ(percentile_95({7}), 7);
}

TEST(BenchReport, HiddenShareIsWhatNobodyWaitedForOfTheTransfers) {
  PassFigures figures;
  figures.times.transfers = {4, 4, 5};
  figures.times.waiting = {0.5, 1, 3};
  figures.sent_bytes = 1;

  EXPECT_DOUBLE_EQ(*hidden_share(figures), 0.75);
  figures.sent_bytes = 0;
  EXPECT_FALSE(hidden_share(figures).has_value());
}

}  // namespace
}  // namespace hilbertring

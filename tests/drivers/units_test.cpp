#include "drivers/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "drivers/text_table.h"

namespace hilbertring {
namespace {

TEST(Units, BytesHaveThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.00 KiB");
  EXPECT_EQ(format_bytes(12 * 1024 * 1024 + 300 * 1024), "12.3 MiB");
  EXPECT_EQ(format_bytes((std::int64_t{1} << 30) - 1), "1.00 GiB");
}

TEST(Units, CountsHaveCommas) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
}

TEST(Units, SecondsChooseTheirUnit) {
  EXPECT_EQ(format_seconds(0.00073), "0.73 ms");
  EXPECT_EQ(format_seconds(1.236), "1.24 s");
  EXPECT_EQ(format_seconds(200), "3 min 20 s");
  EXPECT_EQ(format_seconds(1e300), "1e+300 s");
  EXPECT_EQ(format_seconds(std::numeric_limits<double>::infinity()), "inf s");
}

TEST(Units, BytesAreReadInEveryUnit) {
  const std::vector<std::pair<std::string, std::int64_t>> texts = {
      {"1024", 1024}, {"8GiB", std::int64_t{8} << 30}, {"1.5 GiB", std::int64_t{3} << 29}, {"500MB", 500'000'000}, {"2k", 2048}, {"7B", 7}};
  for (const auto& [text, num_bytes] : texts) EXPECT_EQ(parse_bytes("limit", text), num_bytes) << text;
}

TEST(Units, RefusesWhatAreNoBytes) {
  for (const std::string text : {"", "GiB", "0", "-1GiB", "8 apples", "nan", "1e30"}) {
    EXPECT_THROW(parse_bytes("limit", text), Error) << text;
  }
}

TEST(TextTable, AlignsColumns) {
  TextTable table({{"name", Align::kLeft}, {"value"}});
  table.add_row({"a", "1"});
  table.add_row({"longer", "234567"});

  EXPECT_EQ(table.to_text(1), " name     value\n a            1\n longer  234567\n");
}

TEST(Units, PercentsAreRoundedToTheirDecimals) {
  EXPECT_EQ(format_percent(0.974), "97 %");
  EXPECT_EQ(format_percent(0.9746, 1), "97.5 %");
  EXPECT_EQ(format_percent(1), "100 %");
  EXPECT_EQ(format_percent(1.5, 1), "150 %");
  EXPECT_EQ(format_percent(-0.035, 1), "-3.5 %");
  EXPECT_EQ(format_percent(-0.001), "0 %");
}

}  // namespace
}  // namespace hilbertring

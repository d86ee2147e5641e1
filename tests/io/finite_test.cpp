#include "io/finite.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "tests/io/raw_case.h"

namespace hilbertring::test {
namespace {

TEST(FirstNonfinite, FindsOneAnywhereInEveryType) {
  constexpr std::int64_t kCount = 5000;
  for (const ElementType type : kElementTypes) {
    for (const double value : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
      for (const std::int64_t at : {0, 1, 2047, 2048, 4999}) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(kCount * size_bytes(type)));
        for (std::int64_t i = 0; i < kCount; ++i) store_element(bytes.data(), type, i, -1.5 * static_cast<double>(i));
        store_element(bytes.data(), type, at, value);

        EXPECT_EQ(first_nonfinite(type, bytes), at) << to_string(type) << " " << value;
      }
    }
  }
}

template <class Number>
std::optional<std::int64_t> first_nonfinite_of(ElementType type, Number number) {
  return first_nonfinite(type, std::as_bytes(std::span(&number, 1)));
}

TEST(FirstNonfinite, PassesTheLargestNumbers) {
  EXPECT_EQ(first_nonfinite_of(ElementType::kFloat32, -std::numeric_limits<float>::max()), std::nullopt);
  EXPECT_EQ(first_nonfinite_of(ElementType::kFloat64, std::numeric_limits<double>::max()), std::nullopt);
  EXPECT_EQ(first_nonfinite_of(ElementType::kFloat16, std::uint16_t{0xfbff}), std::nullopt);
  EXPECT_EQ(first_nonfinite_of(ElementType::kBfloat16, std::uint16_t{0x7f7f}), std::nullopt);
}

TEST(CheckFinite, NamesTensorValueAndIndexInTheFile) {
  const TemporaryDirectory directory;
  RawCase().write(directory.file("case.h5"));
  const auto file = CaseFile::open(directory.file("case.h5"), MPI_COMM_SELF);
  const Range<SequenceIndex> tokens{SequenceIndex(5), SequenceIndex(9)};
  std::vector<float> rows(4 * 2 * 8, 1.0f);
  check_finite(*file, TensorName::kK, tokens, std::as_bytes(std::span(rows)));
  rows[(2 * 2 + 1) * 8 + 3] = -std::numeric_limits<float>::infinity();

  const auto error = error_of([&] { check_finite(*file, TensorName::kK, tokens, std::as_bytes(std::span(rows))); });

  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->kind(), ErrorKind::kInput);
  EXPECT_EQ(error->what(), directory.file("case.h5") + ": '/k' holds -infinity at [0, 7, 1, 3] ([b, n, h, d]); all inputs must be finite");
}

}  // namespace
}  // namespace hilbertring::test

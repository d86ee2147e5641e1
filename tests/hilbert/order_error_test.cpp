#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/hilbert/orders.h"

namespace hilbertring::testing {
namespace {

/// Runs `action` and returns the line it throws; fails unless it throws an Error of `kind`.
template <class Action>
std::string line_of(ErrorKind kind, Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

std::string file_order_line(std::int64_t num_tokens, std::vector<std::int64_t> table) {
  const auto shared = std::make_shared<const std::vector<std::int64_t>>(std::move(table));
  return line_of(ErrorKind::kInput, [&] { make_order(curve_specification(Curve::kFile), num_tokens, shared); });
}

std::string grid_line(std::vector<std::int64_t> grid, std::int64_t num_tokens) {
  return line_of(ErrorKind::kUsage, [&] { curve_order(Curve::kHilbert, num_tokens, std::move(grid)); });
}

TEST(FileOrder, RejectsWhatIsNoPermutation) {
  EXPECT_EQ(line_of(ErrorKind::kInput, [] { make_order(curve_specification(Curve::kFile), 4); }), "/order is missing: curve = file needs it");
  EXPECT_EQ(file_order_line(4, {0, 1, 2}), "/order has 3 entries, but there are 4 tokens");
  EXPECT_EQ(file_order_line(4, {0, 1, 1, 2}), "/order[2] = 1 is already at [1]: every sequence index occurs once");
  EXPECT_EQ(file_order_line(4, {0, 1, 2, 4}), "/order[3] = 4 is not a sequence index in [0, 4)");
  EXPECT_EQ(file_order_line(4, {0, -1, 2, 3}), "/order[1] = -1 is not a sequence index in [0, 4)");
}

TEST(Order, RejectsGridsThatDoNotFit) {
  EXPECT_EQ(grid_line({4, 4}, 17), "grid 4x4: 16 cells are too few for 17 tokens");
  EXPECT_EQ(grid_line({4, 0}, 17), "grid 4x0: side 0 must be positive");
  EXPECT_EQ(grid_line({2, 2, 2, 2}, 16), "grid 2x2x2x2: a grid has 2 or 3 sides");
  EXPECT_EQ(grid_line({std::int64_t{1} << 40, std::int64_t{1} << 40}, 17), "grid 1099511627776x1099511627776: a grid has at most 2^60 cells");
}

TEST(Order, RejectsLengthsThatCannotBe) {
  EXPECT_EQ(line_of(ErrorKind::kUsage, [] { curve_order(Curve::kHilbert, 0); }), "order: tokens = 0 must be 1 to 2^60");
  EXPECT_EQ(line_of(ErrorKind::kUsage, [] { make_identity_order(-3); }), "order: tokens = -3 must be 1 to 2^60");
  EXPECT_EQ(line_of(ErrorKind::kUsage, [] { curve_order(Curve::kHilbert, 10, {}, -1); }), "curve_chunk = -1 must not be negative");
}

TEST(Order, RejectsIndicesOutsideTheSequence) {
  for (const NamedOrder& named : all_orders(10)) {
    const Order& order = *named.order;
    std::vector<std::int64_t> three(3);

    EXPECT_EQ(line_of(ErrorKind::kUsage, [&] { order.sequence_index(Position(10)); }), "order: position 10 is not in [0, 10)");
    EXPECT_EQ(line_of(ErrorKind::kUsage, [&] { order.position(SequenceIndex(-1)); }), "order: sequence index -1 is not in [0, 10)");
    EXPECT_EQ(line_of(ErrorKind::kUsage, [&] { order.fill({Position(8), Position(11)}, three); }), "order: positions [8, 11) are not in [0, 10)");
    EXPECT_EQ(line_of(ErrorKind::kUsage, [&] { order.fill({Position(0), Position(4)}, three); }), "order: 3 entries to fill for 4 positions");
    EXPECT_EQ(line_of(ErrorKind::kUsage, [&] { order.hull({Position(4), Position(4)}); }), "order: no hull of the empty range at position 4");
  }
}

}  // namespace
}  // namespace hilbertring::testing

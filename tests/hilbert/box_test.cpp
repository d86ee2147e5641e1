#include "hilbert/box.h"

#include <gtest/gtest.h>

#include "tests/hilbert/orders.h"
#include "tests/hilbert/steps.h"

namespace hilbertring::testing {
namespace {

using Sides = std::vector<std::int64_t>;

std::vector<Sides> boxes_up_to(std::int64_t largest) {
  std::vector<Sides> boxes;
  for (std::int64_t planes = 1; planes <= largest; ++planes) {
    for (std::int64_t rows = 1; rows <= largest; ++rows) {
      for (std::int64_t cols = 1; cols <= largest; ++cols) boxes.push_back({planes, rows, cols});
    }
  }
  return boxes;
}

std::vector<std::int64_t> box_order(const Sides& sides, Curve curve = Curve::kHilbert) {
  return filled(*curve_order(curve, sides[0] * sides[1] * sides[2], sides));
}

std::string name(const Sides& sides) { return std::to_string(sides[0]) + " x " + std::to_string(sides[1]) + " x " + std::to_string(sides[2]); }

TEST(HilbertBox, VisitsEveryCellOnce) {
  for (const Sides& sides : boxes_up_to(8)) {
    const std::vector<std::int64_t> order = box_order(sides);

    EXPECT_TRUE(is_permutation(order)) << name(sides);
    EXPECT_EQ(order[0], 0) << name(sides);
  }
}

TEST(HilbertBox, StepsAreUnitExceptWhereParityForbids) {
  std::vector<Sides> boxes = boxes_up_to(8);
  boxes.insert(boxes.end(), {{31, 30, 29}, {17, 32, 33}, {9, 64, 11}, {40, 41, 43}, {3, 50, 99}, {25, 25, 25}, {20, 21, 22}, {2, 3, 1001}});
  for (const Sides& sides : boxes) {
    const StepCensus census = step_census(sides, box_order(sides));

    EXPECT_LE(census.num_long, parity_forbids_unit_steps(sides) ? 1 : 0) << name(sides);
    EXPECT_LE(census.longest, 2) << name(sides);
  }
}

TEST(HilbertBox, VisitsEachOctantOfCubesInOneGo) {
  const std::int64_t side = 16;
  const std::vector<std::int64_t> order = box_order({side, side, side});
  const Grid grid({side, side, side}, side * side * side);

  for (std::int64_t octant = 2; octant < side; octant *= 2) {
    const auto octant_of = [&](std::size_t p) {
      const Cell cell = grid.cell(order[p]);
      return Cell{cell[0] / octant, cell[1] / octant, cell[2] / octant};
    };
    const auto cells_per_octant = static_cast<std::size_t>(octant * octant * octant);
    for (std::size_t p = 0; p < order.size(); ++p) ASSERT_EQ(octant_of(p), octant_of(p / cells_per_octant * cells_per_octant)) << octant << " " << p;
  }
}

TEST(HilbertBox, EqualsWrittenOutCurve) {
  // The project's own curve: these orders were printed by an independent program of the same rule and must never change.
  const std::vector<std::int64_t> eight_cells{0, 2, 6, 4, 5, 7, 3, 1};
  const std::vector<std::int64_t> three_by_four_by_five{0,  5,  6,  1,  21, 26, 25, 20, 40, 41, 46, 45, 50, 51, 56, 55, 35, 15, 10, 30,
                                                        31, 11, 16, 36, 37, 17, 12, 32, 33, 34, 14, 13, 18, 19, 39, 38, 59, 54, 53, 58,
                                                        57, 52, 47, 42, 43, 48, 49, 44, 24, 29, 28, 23, 22, 27, 7,  2,  3,  8,  9,  4};

  EXPECT_EQ(box_order({2, 2, 2}), eight_cells);
  EXPECT_EQ(box_order({3, 4, 5}), three_by_four_by_five);
  EXPECT_EQ(fingerprint(box_order({16, 16, 16})), 0xcf757b5588ae3b25u);
  EXPECT_EQ(fingerprint(box_order({12, 17, 30})), 0xc125b65b3a9391du);
  EXPECT_EQ(fingerprint(box_order({25, 9, 7})), 0x3f474641fa44d264u);
}

TEST(HilbertBox, OfOnePlaneIsTheRectangle) {
  for (const Sides& sides : {Sides{1, 9, 14}, Sides{1, 14, 9}, Sides{1, 8, 8}, Sides{1, 1, 5}}) {
    EXPECT_EQ(box_order(sides), filled(*curve_order(Curve::kHilbert, sides[1] * sides[2], {sides[1], sides[2]}))) << name(sides);
  }
}

TEST(HilbertBox, KeepsNeighboursOnTheCurveNearInSpace) {
  const Sides sides{27, 32, 30};
  const std::vector<std::int64_t> order = box_order(sides);
  const Grid grid(sides, static_cast<std::int64_t>(order.size()));
  double sum = 0;

  for (std::size_t p = 0; p + 64 < order.size(); ++p) sum += static_cast<double>(manhattan_distance(grid.cell(order[p]), grid.cell(order[p + 64])));

  // 64 cells make a cube of side 4: row-major order would be at a distance of about 12 to 33.
  EXPECT_LT(sum / static_cast<double>(order.size() - 64), 8.0);
}

TEST(SnakeBox, EveryStepIsToANeighbour) {
  for (const Sides& sides : boxes_up_to(6)) {
    const std::vector<std::int64_t> order = box_order(sides, Curve::kSnake);

    EXPECT_TRUE(is_permutation(order)) << name(sides);
    EXPECT_EQ(step_census(sides, order).num_long, 0) << name(sides);
  }
}

TEST(MortonBox, SortsByInterleavedBits) {
  const Sides sides{3, 5, 6};
  const Grid grid(sides, 90);
  const auto interleaved = [&](std::int64_t index) {
    const Cell cell = grid.cell(index);
    std::int64_t code = 0;
    for (int bit = 2; bit >= 0; --bit) {
      for (const std::int64_t coordinate : cell) code = 2 * code + (coordinate >> bit & 1);
    }
    return code;
  };

  const std::vector<std::int64_t> order = box_order(sides, Curve::kMorton);

  EXPECT_TRUE(is_permutation(order));
  EXPECT_TRUE(std::ranges::is_sorted(order, {}, interleaved));
}

}  // namespace
}  // namespace hilbertring::testing

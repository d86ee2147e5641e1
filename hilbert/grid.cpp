#include "hilbert/grid.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "core/error.h"

namespace hilbertring {
namespace {

std::string text_of(const std::vector<std::int64_t>& sides) {
  std::string text;
  for (const std::int64_t side : sides) {
    if (!text.empty()) text += 'x';
    text += std::to_string(side);
  }
  return text.empty() ? "(none)" : text;
}

Cell checked_sides(const std::vector<std::int64_t>& sides, std::int64_t num_tokens) {
  const std::string name = "grid " + text_of(sides);
  if (sides.size() != 2 && sides.size() != 3) throw usage_error(name + ": a grid has 2 or 3 sides");
  std::int64_t num_cells = 1;
  for (const std::int64_t side : sides) {
    if (side < 1) throw usage_error(name + ": side " + std::to_string(side) + " must be positive");
    if (side > kMaxCells / num_cells) throw usage_error(name + ": a grid has at most 2^60 cells");
    num_cells *= side;
  }
  if (num_cells < num_tokens) {
    throw usage_error(name + ": " + std::to_string(num_cells) + " cells are too few for " + std::to_string(num_tokens) + " tokens");
  }
  return sides.size() == 2 ? Cell{1, sides[0], sides[1]} : Cell{sides[0], sides[1], sides[2]};
}

}  // namespace

Grid::Grid(const std::vector<std::int64_t>& sides, std::int64_t num_tokens)
    : sides_(checked_sides(sides, num_tokens)), strides_{sides_[1] * sides_[2], sides_[2], 1}, num_tokens_(num_tokens), limit_(cell(num_tokens)) {}

Cell Grid::cell(std::int64_t index) const {
  const std::int64_t in_plane = index % strides_[0];
  return {index / strides_[0], in_plane / strides_[1], in_plane % strides_[1]};
}

CellBox Grid::box(const Frame& frame) const {
  CellBox box{cell(frame.start), {}};
  for (const Axis& axis : {frame.main, frame.second, frame.third}) {
    const auto side = static_cast<std::size_t>(axis.side);
    if (axis.step < 0) box.begin[side] -= axis.length - 1;
    box.end[side] = box.begin[side] + axis.length;
  }
  return box;
}

std::int64_t Grid::num_tokens_in(const CellBox& box) const {
  const Cell size{box.end[0] - box.begin[0], box.end[1] - box.begin[1], box.end[2] - box.begin[2]};
  const auto num_full = [&](std::size_t side) { return std::clamp<std::int64_t>(limit_[side] - box.begin[side], 0, size[side]); };
  const auto holds_limit = [&](std::size_t side) { return box.begin[side] <= limit_[side] && limit_[side] < box.end[side]; };

  std::int64_t count = num_full(0) * size[1] * size[2];
  if (holds_limit(0)) {
    count += num_full(1) * size[2];
    if (holds_limit(1)) count += num_full(2);
  }
  return count;
}

std::int64_t Grid::last_token_in(const CellBox& box) const {
  Cell last{box.end[0] - 1, box.end[1] - 1, box.end[2] - 1};
  if (last[0] < limit_[0]) return index(last);
  if (box.begin[0] <= limit_[0]) {
    // The plane where the tokens end is in the box: the last full row there, unless the partial row reaches into the box.
    last[0] = limit_[0];
    if (last[1] < limit_[1]) return index(last);
    if (box.begin[1] <= limit_[1] && box.begin[2] < limit_[2]) {
      return index({limit_[0], limit_[1], std::min(box.end[2], limit_[2]) - 1});
    }
    if (box.begin[1] < limit_[1]) return index({limit_[0], limit_[1] - 1, last[2]});
  }
  return index({limit_[0] - 1, box.end[1] - 1, box.end[2] - 1});
}

bool contains(const CellBox& box, const Cell& cell) {
  for (std::size_t side = 0; side < cell.size(); ++side) {
    if (cell[side] < box.begin[side] || cell[side] >= box.end[side]) return false;
  }
  return true;
}

std::int64_t manhattan_distance(const Cell& a, const Cell& b) { return std::abs(a[0] - b[0]) + std::abs(a[1] - b[1]) + std::abs(a[2] - b[2]); }

}  // namespace hilbertring

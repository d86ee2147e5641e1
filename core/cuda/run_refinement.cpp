#include "core/cuda/run_refinement.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace hilbertring {

namespace {

/// Runs, and residues modulo the common multiple of strides, are sets of bits: GPUs wait while a list is made.
constexpr std::int64_t kMaxBits = 64;

/// Where a cut may lie without changing which of a run's positions are behind it.
struct Window {
  std::int64_t low, high;
};

Window begin_window(const Run& run) { return {run.first.value - run.stride + 1, run.first.value}; }
Window end_window(const Run& run) {
  const std::int64_t last = run[run.count - 1].value;
  return {last + 1, last + run.stride};
}

/// A run as cuts and residues know it.
struct Extent {
  std::int64_t begin, end;
  std::uint64_t residues;
};

/// The fewest cuts that leave no window without one, ascending.
std::vector<std::int64_t> cuts_for(std::span<const Run> runs) {
  std::vector<Window> windows;
  for (const Run& run : runs) {
    windows.push_back(begin_window(run));
    windows.push_back(end_window(run));
  }
  std::ranges::sort(windows, {}, &Window::high);
  std::vector<std::int64_t> cuts;
  for (const Window& window : windows) {
    if (cuts.empty() || cuts.back() < window.low) cuts.push_back(window.high);
  }
  return cuts;
}

std::int64_t cut_in(const std::vector<std::int64_t>& cuts, const Window& window) { return *std::ranges::lower_bound(cuts, window.low); }

std::int64_t residue(std::int64_t value, std::int64_t modulus) { return (value % modulus + modulus) % modulus; }

/// The positions of [begin, end) that are `first` modulo `stride`.
Run run_between(std::int64_t begin, std::int64_t end, std::int64_t first, std::int64_t stride) {
  const std::int64_t at = begin + residue(first - begin, stride);
  return {.first = Position(at), .stride = stride, .count = at < end ? (end - 1 - at) / stride + 1 : 0};
}

/// first, first + stride, ... below grid.
std::uint64_t residues_of(std::int64_t first, std::int64_t stride, std::int64_t grid) {
  std::uint64_t bits = 0;
  for (std::int64_t r = residue(first, stride); r < grid; r += stride) bits |= std::uint64_t{1} << r;
  return bits;
}

/// Appends the positions of [begin, end) whose residues modulo `grid` are in the set as few runs: of the smallest stride first that a subset makes
/// up.
void append_runs(std::int64_t begin, std::int64_t end, std::uint64_t residues, std::int64_t grid, std::uint64_t members,
                 std::vector<RefinedRun>& refined) {
  for (std::int64_t stride = 1; residues != 0; ++stride) {
    if (grid % stride != 0) continue;
    for (std::int64_t first = 0; first < stride; ++first) {
      const std::uint64_t subset = residues_of(first, stride, grid);
      if ((residues & subset) != subset) continue;
      residues &= ~subset;
      const Run run = run_between(begin, end, first, stride);
      if (run.count > 0) refined.push_back({run, members});
    }
  }
}

}  // namespace

std::optional<std::vector<RefinedRun>> refine_runs(std::span<const Run> runs) {
  std::int64_t grid = 1;
  for (const Run& run : runs) {
    grid = std::lcm(grid, run.stride);
    if (grid > kMaxBits) return std::nullopt;
  }
  if (std::ssize(runs) > kMaxBits) return std::nullopt;

  const std::vector<std::int64_t> cuts = cuts_for(runs);
  std::vector<Extent> extents;
  for (const Run& run : runs) {
    extents.push_back({cut_in(cuts, begin_window(run)), cut_in(cuts, end_window(run)), residues_of(run.first.value, run.stride, grid)});
  }
  std::vector<RefinedRun> refined;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    std::map<std::uint64_t, std::uint64_t> residues_by_members;
    for (std::int64_t r = 0; r < grid; ++r) {
      std::uint64_t members = 0;
      for (std::size_t i = 0; i < extents.size(); ++i) {
        const bool is_inside = extents[i].begin <= cuts[c] && cuts[c + 1] <= extents[i].end && (extents[i].residues >> r & 1) != 0;
        members |= std::uint64_t{is_inside} << i;
      }
      if (members != 0) residues_by_members[members] |= std::uint64_t{1} << r;
    }
    for (const auto& [members, residues] : residues_by_members) append_runs(cuts[c], cuts[c + 1], residues, grid, members, refined);
  }
  return refined;
}

}  // namespace hilbertring

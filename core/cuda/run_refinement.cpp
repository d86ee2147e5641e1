#include "core/cuda/run_refinement.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

namespace hilbertring {

namespace {

constexpr std::int64_t kMaxGrid = 64;         ///< common multiple of strides
constexpr std::int64_t kMaxWork = 1'000'000;  ///< cells times runs: milliseconds

/// Where a cut may lie without changing which of a run's positions are behind it.
struct Window {
  std::int64_t low, high;
};

Window begin_window(const Run& run) { return {run.first.value - run.stride + 1, run.first.value}; }
Window end_window(const Run& run) {
  const std::int64_t last = run[run.count - 1].value;
  return {last + 1, last + run.stride};
}

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

/// Appends a set of residues modulo `grid` in [begin, end) as few runs: of the smallest stride first that a subset makes up.
void append_runs(std::int64_t begin, std::int64_t end, std::vector<bool> residues, const std::vector<std::size_t>& members,
                 std::vector<RefinedRun>& refined) {
  const auto grid = static_cast<std::int64_t>(residues.size());
  const auto has = [&](std::int64_t r) { return residues[static_cast<std::size_t>(r)]; };
  for (std::int64_t stride = 1; stride <= grid; ++stride) {
    if (grid % stride != 0) continue;
    for (std::int64_t first = 0; first < stride; ++first) {
      bool has_all = true;
      for (std::int64_t r = first; r < grid; r += stride) has_all = has_all && has(r);
      if (!has_all) continue;
      for (std::int64_t r = first; r < grid; r += stride) residues[static_cast<std::size_t>(r)] = false;
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
    if (grid > kMaxGrid) return std::nullopt;
  }
  const std::vector<std::int64_t> cuts = cuts_for(runs);
  if (std::ssize(cuts) * grid * std::ssize(runs) > kMaxWork) return std::nullopt;

  std::vector<std::pair<std::int64_t, std::int64_t>> extents;
  for (const Run& run : runs) extents.emplace_back(cut_in(cuts, begin_window(run)), cut_in(cuts, end_window(run)));
  std::vector<RefinedRun> refined;
  for (std::size_t c = 0; c + 1 < cuts.size(); ++c) {
    std::map<std::vector<std::size_t>, std::vector<bool>> residues_of;
    for (std::int64_t r = 0; r < grid; ++r) {
      std::vector<std::size_t> members;
      for (std::size_t i = 0; i < runs.size(); ++i) {
        const bool spans = extents[i].first <= cuts[c] && cuts[c + 1] <= extents[i].second;
        if (spans && residue(r - runs[i].first.value, runs[i].stride) == 0) members.push_back(i);
      }
      if (members.empty()) continue;
      auto& residues = residues_of[std::move(members)];
      residues.resize(static_cast<std::size_t>(grid));
      residues[static_cast<std::size_t>(r)] = true;
    }
    for (const auto& [members, residues] : residues_of) append_runs(cuts[c], cuts[c + 1], residues, members, refined);
  }
  return refined;
}

}  // namespace hilbertring

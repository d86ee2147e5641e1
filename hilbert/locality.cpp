#include "hilbert/locality.h"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <sstream>
#include <utility>

#include "core/error.h"
#include "hilbert/grid.h"
#include "hilbert/order.h"
#include "hilbert/order_lookup.h"

namespace hilbertring {
namespace {

constexpr std::int64_t kMaxTiles = 1024;
constexpr std::int64_t kMaxSampledTiles = 64;

/// The mean and the largest of numbers given one by one.
class Tally {
 public:
  void add(std::int64_t value) {
    sum_ += static_cast<double>(value);
    worst_ = std::max(worst_, value);
    ++count_;
  }
  MeanAndWorst result() const { return {count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_), worst_}; }

 private:
  double sum_ = 0;
  std::int64_t worst_ = 0;
  std::int64_t count_ = 0;
};

/// Sorted cell indices widened by `radius` along one side of the grid, clipped to the grid; sorted, each once.
std::vector<std::int64_t> widened(const std::vector<std::int64_t>& cells, const Grid& grid, int side, std::int64_t radius) {
  const Axis axis = grid.axis(side);
  if (axis.length == 1) return cells;
  std::vector<std::int64_t> result;
  for (const std::int64_t index : cells) {
    const std::int64_t coordinate = grid.cell(index)[static_cast<std::size_t>(side)];
    const std::int64_t last = std::min(coordinate + radius, axis.length - 1);
    for (std::int64_t c = std::max<std::int64_t>(coordinate - radius, 0); c <= last; ++c) result.push_back(index + (c - coordinate) * axis.step);
  }
  std::ranges::sort(result);
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

/// Measures one order after the other on one grid.
class Meter {
 public:
  Meter(const Grid& grid, const LocalityOptions& options) : grid_(grid), options_(options) {}

  CurveLocality measure(std::string name, const Order& order) const {
    const OrderLookup lookup(order);
    CurveLocality result{std::move(name), {}, neighbour_distance(lookup), tile_pairs(lookup)};
    for (const std::int64_t gap : options_.gaps) result.gap_distances.push_back(gap_distance(lookup, gap));
    return result;
  }

  /// Pairs of tokens at most `radius` apart on each side, over all pairs of tiles; the grid counts as if it were full.
  double ideal_tile_pairs() const {
    double pairs = static_cast<double>(grid_.num_tokens()) / static_cast<double>(grid_.num_cells());
    for (int side = 0; side < 3; ++side) {
      const auto length = static_cast<double>(grid_.axis(side).length);
      const double reach = std::min(static_cast<double>(options_.radius), length - 1);
      pairs *= length * (2 * reach + 1) - reach * (reach + 1);
    }
    return pairs / static_cast<double>(options_.tile) / static_cast<double>(options_.tile);
  }

 private:
  bool is_tabled() const { return grid_.num_tokens() <= kMaxTabledTokens; }
  std::int64_t num_samples() const { return is_tabled() ? grid_.num_tokens() : kMaxSampledTokens; }

  MeanAndWorst gap_distance(const OrderLookup& lookup, std::int64_t gap) const {
    Tally tally;
    for_samples(grid_.num_tokens() - gap, num_samples(), [&](std::int64_t p) {
      tally.add(manhattan_distance(grid_.cell(lookup.sequence_index(p)), grid_.cell(lookup.sequence_index(p + gap))));
    });
    return tally.result();
  }

  MeanAndWorst neighbour_distance(const OrderLookup& lookup) const {
    Tally tally;
    for_samples(grid_.num_tokens(), num_samples(), [&](std::int64_t t) {
      const Cell cell = grid_.cell(t);
      for (int side = 0; side < 3; ++side) {
        const Axis axis = grid_.axis(side);
        const bool has_next = cell[static_cast<std::size_t>(side)] + 1 < axis.length && t + axis.step < grid_.num_tokens();
        if (has_next) tally.add(std::abs(lookup.position(t + axis.step) - lookup.position(t)));
      }
    });
    return tally.result();
  }

  double tile_pairs(const OrderLookup& lookup) const {
    const std::int64_t num_tiles = ceil_div(grid_.num_tokens(), options_.tile);
    std::int64_t num_pairs = 0;
    const std::int64_t num_seen =
        for_samples(num_tiles, is_tabled() ? kMaxTiles : kMaxSampledTiles, [&](std::int64_t tile) { num_pairs += num_key_tiles(lookup, tile); });
    return static_cast<double>(num_pairs) * (static_cast<double>(num_tiles) / static_cast<double>(num_seen));
  }

  /// Key tiles that the windows of one query tile touch.
  std::int64_t num_key_tiles(const OrderLookup& lookup, std::int64_t query_tile) const {
    std::vector<std::int64_t> cells;
    const std::int64_t end = std::min((query_tile + 1) * options_.tile, grid_.num_tokens());
    for (std::int64_t p = query_tile * options_.tile; p < end; ++p) cells.push_back(lookup.sequence_index(p));
    std::ranges::sort(cells);
    for (const int side : {2, 1, 0}) cells = widened(cells, grid_, side, options_.radius);

    std::vector<std::int64_t> tiles;
    for (const std::int64_t t : cells) {
      if (t < grid_.num_tokens()) tiles.push_back(lookup.position(t) / options_.tile);
    }
    std::ranges::sort(tiles);
    return std::unique(tiles.begin(), tiles.end()) - tiles.begin();
  }

  const Grid& grid_;
  const LocalityOptions& options_;
};

std::string text_of(const MeanAndWorst& value) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(2) << value.mean << " / " << value.worst;
  return text.str();
}

}  // namespace

void LocalityOptions::validate() const {
  for (const std::int64_t gap : gaps) {
    if (gap < 1) throw usage_error("locality: gap = " + std::to_string(gap) + " must be at least 1 position");
  }
  if (tile < 1) throw usage_error("locality: tile = " + std::to_string(tile) + " must be at least 1 position");
  if (radius < 0) throw usage_error("locality: radius = " + std::to_string(radius) + " must not be negative");
}

std::string Locality::to_text() const {
  std::ostringstream text;
  text << "locality of " << num_tokens << " tokens on a grid of " << grid[0];
  for (std::size_t side = 1; side < grid.size(); ++side) text << " x " << grid[side];
  text << (is_sampled ? ", sampled" : "") << '\n' << std::left << std::setw(10) << "order" << std::right;
  for (const std::int64_t gap : options.gaps) text << std::setw(20) << "gap " + std::to_string(gap);
  text << std::setw(24) << "neighbours" << std::setw(14) << "tile pairs" << std::setw(10) << "x ideal" << '\n';
  for (const CurveLocality& curve : curves) {
    text << std::left << std::setw(10) << curve.name << std::right;
    for (const MeanAndWorst& distance : curve.gap_distances) text << std::setw(20) << text_of(distance);
    text << std::setw(24) << text_of(curve.neighbour_distance) << std::fixed << std::setprecision(0) << std::setw(14) << curve.tile_pairs;
    text << std::setprecision(2) << std::setw(10) << curve.tile_pairs / ideal_tile_pairs << '\n';
  }
  text << "gap k: grid distance of tokens k positions apart, mean / worst; neighbours: positions between grid neighbours, mean / worst;\n"
       << "tile pairs: tiles of " << options.tile << " queries x " << options.tile << " keys that windows of radius " << options.radius
       << " touch; ideal: " << std::setprecision(0) << ideal_tile_pairs << " (every tile full)\n";
  return text.str();
}

Locality measure_locality(const Specification& specification, std::int64_t num_tokens, const LocalityOptions& options,
                          const std::shared_ptr<const std::vector<std::int64_t>>& file_order) {
  options.validate();
  Specification of_run = specification;
  const std::int64_t run_length = curve_run_length(specification, num_tokens);
  of_run.curve_chunk = 0;
  of_run.grid = grid_of_run(specification, run_length);

  const Grid grid(of_run.grid, run_length);
  const Meter meter(grid, options);
  Locality result{
      run_length, of_run.grid, options, run_length > kMaxTabledTokens || ceil_div(run_length, options.tile) > kMaxTiles, meter.ideal_tile_pairs(),
      {}};
  std::vector<std::pair<const char*, Curve>> curves{
      {"identity", Curve::kIdentity}, {"snake", Curve::kSnake}, {"morton", Curve::kMorton}, {"hilbert", Curve::kHilbert}};
  if (specification.curve == Curve::kFile) curves.emplace_back("file", Curve::kFile);
  for (const auto& [name, curve] : curves) {
    of_run.curve = curve;
    result.curves.push_back(meter.measure(name, *make_order(of_run, run_length, file_order)));
  }
  return result;
}

}  // namespace hilbertring

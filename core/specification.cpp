#include "core/specification.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "core/index.h"

namespace hilbertring {

namespace {

constexpr std::int64_t kMaxGridCells = std::int64_t{1} << 62;

std::string element_name(const char* field, std::size_t index) { return std::string(field) + "[" + std::to_string(index) + "]"; }

void require_at_least(const std::string& name, std::int64_t value, std::int64_t minimum) {
  if (value < minimum) throw usage_error(name + " is " + std::to_string(value) + ", but must be at least " + std::to_string(minimum));
}

void validate_branches(const std::vector<std::int64_t>& segment_lengths, const std::vector<std::int64_t>& dilation_rates) {
  if (segment_lengths.empty()) throw usage_error("segment_lengths is empty, but must have at least one length");
  if (dilation_rates.empty()) throw usage_error("dilation_rates is empty, but must have at least one rate");
  if (segment_lengths.size() != dilation_rates.size()) {
    throw usage_error("segment_lengths has " + std::to_string(segment_lengths.size()) + " entries and dilation_rates has " +
                      std::to_string(dilation_rates.size()) + ", but both must have one per branch");
  }
  for (std::size_t i = 0; i < segment_lengths.size(); ++i) {
    require_at_least(element_name("segment_lengths", i), segment_lengths[i], 1);
    require_at_least(element_name("dilation_rates", i), dilation_rates[i], 1);
    if (dilation_rates[i] > segment_lengths[i]) {
      throw usage_error(element_name("dilation_rates", i) + " is " + std::to_string(dilation_rates[i]) + ", but must not exceed " +
                        element_name("segment_lengths", i) + ", which is " + std::to_string(segment_lengths[i]));
    }
  }
}

std::string grid_text(const std::vector<std::int64_t>& grid) {
  std::string text;
  for (const std::int64_t side : grid) text += (text.empty() ? "" : "x") + std::to_string(side);
  return text;
}

/// Each run of the curve lies on a grid of its own, so the grid must hold the longest run.
void validate_grid(const std::vector<std::int64_t>& grid, std::int64_t run_length) {
  if (grid.empty()) return;
  if (grid.size() != 2 && grid.size() != 3) {
    throw usage_error("grid has " + std::to_string(grid.size()) + " sides, but must have 2 (rows, cols) or 3 (planes, rows, cols)");
  }
  std::int64_t num_cells = 1;
  for (std::size_t i = 0; i < grid.size(); ++i) {
    require_at_least(element_name("grid", i), grid[i], 1);
    if (grid[i] > kMaxGridCells / num_cells) throw usage_error("grid is " + grid_text(grid) + ", but must have at most 2^62 cells");
    num_cells *= grid[i];
  }
  if (num_cells < run_length) {
    throw usage_error("grid is " + grid_text(grid) + ", which is " + std::to_string(num_cells) + " cells, but must have at least " +
                      std::to_string(run_length) + ", the tokens of one run of the curve");
  }
}

void validate_scale(const std::optional<double>& scale) {
  if (!scale || (std::isfinite(*scale) && *scale != 0)) return;
  char text[32];
  std::snprintf(text, sizeof text, "%g", *scale);
  throw usage_error("scale is " + std::string(text) + ", but must be finite and not 0");
}

/// The automatic chunk, from N and the pattern alone (never from the number of ranks: the bits of the result depend on it).
///
/// About 64 chunks, so that many ranks find work and zigzag can balance it; not under 512 tokens, or the cost of a pair of chunks would show, nor
/// over 65536, or a chunk's buffers would leave the caches' reach; long enough that a dilated run inside a chunk keeps 64 rows for the kernels; but
/// at least 8 chunks where each then has 64 tokens. A power of two, so that segments of a power of two end where chunks end; else a multiple of the
/// longest other length that fits.
std::int64_t automatic_chunk(std::int64_t num_tokens, const std::vector<std::int64_t>& segment_lengths,
                             const std::vector<std::int64_t>& dilation_rates) {
  const auto power_of_two_from = [](std::int64_t value) { return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(value))); };
  const auto power_of_two_up_to = [](std::int64_t value) { return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(value))); };

  const std::int64_t max_dilation_rate = *std::max_element(dilation_rates.begin(), dilation_rates.end());
  const std::int64_t chunk_of_rate = 64 * power_of_two_from(std::min(max_dilation_rate, num_tokens / 64 + 1));
  std::int64_t chunk = std::clamp<std::int64_t>(power_of_two_from(ceil_div(num_tokens, 64)), 512, 65536);
  chunk = std::max(chunk, chunk_of_rate);
  if (num_tokens / 8 >= 64) chunk = std::min(chunk, power_of_two_up_to(num_tokens / 8));
  chunk = std::min(chunk, num_tokens);

  std::int64_t longest_other = 1;
  for (const std::int64_t length : segment_lengths) {
    const bool is_power_of_two = std::has_single_bit(static_cast<std::uint64_t>(length));
    if (!is_power_of_two && length <= chunk) longest_other = std::max(longest_other, length);
  }
  return chunk / longest_other * longest_other;
}

}  // namespace

void Specification::validate(const Shape& shape) const {
  validate_branches(segment_lengths, dilation_rates);
  require_at_least("curve_chunk", curve_chunk, 0);
  require_at_least("chunk", chunk, 0);
  validate_grid(grid, curve_chunk == 0 ? shape.tokens : std::min(curve_chunk, shape.tokens));
  validate_scale(scale);
}

double Specification::scale_for(const Shape& shape) const { return scale.value_or(1.0 / std::sqrt(static_cast<double>(shape.head_dim))); }

std::int64_t Specification::chunk_for(const Shape& shape) const {
  return chunk == 0 ? automatic_chunk(shape.tokens, segment_lengths, dilation_rates) : std::min(chunk, shape.tokens);
}

}  // namespace hilbertring

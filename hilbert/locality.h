#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/specification.h"

namespace hilbertring {

/// What to measure.
struct LocalityOptions {
  std::vector<std::int64_t> gaps{1, 16, 256};  ///< positions
  std::int64_t tile = 64;                      ///< positions per tile
  std::int64_t radius = 8;                     ///< cells: a window holds the cells at most `radius` away on each side of the grid

  /// Throws usage_error: gaps and tile at least 1, radius at least 0.
  void validate() const;
};

struct MeanAndWorst {
  double mean = 0;
  std::int64_t worst = 0;
};

/// How near in the grid one order keeps what is near on it, and the other way round.
struct CurveLocality {
  std::string name;
  std::vector<MeanAndWorst> gap_distances;  ///< per gap: Manhattan distance in cells between tokens so many positions apart; 0 if the gap is >= N
  MeanAndWorst neighbour_distance;          ///< positions between two tokens whose cells are neighbours in the grid
  double tile_pairs = 0;                    ///< (query tile, key tile) pairs with a pair of tokens inside a window; an estimate if sampled
};

/// The orders side by side, identity first. With curve_chunk: of the first run, on its grid.
struct Locality {
  std::int64_t num_tokens = 0;
  std::vector<std::int64_t> grid;
  LocalityOptions options;
  bool is_sampled = false;      ///< more tokens than are looked at one by one: positions and tiles at even distances stand for all
  double ideal_tile_pairs = 0;  ///< allowed pairs of tokens / tile^2: what an order would touch whose tiles were filled to the last pair
  std::vector<CurveLocality> curves;

  /// A table for people, and a line that says what its columns are.
  std::string to_text() const;
};

/// Measures identity, snake, morton and hilbert on the specification's grid, and the order of the file when the specification's curve is `file`.
/// About a tenth of a second for 65,536 tokens; beyond a million tokens by sampling. Throws as `make_order` and `LocalityOptions::validate` do.
Locality measure_locality(const Specification& specification, std::int64_t num_tokens, const LocalityOptions& options = {},
                          const std::shared_ptr<const std::vector<std::int64_t>>& file_order = nullptr);

}  // namespace hilbertring

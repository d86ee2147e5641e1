#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/block_attention.h"
#include "core/cuda/work_items.h"

namespace hilbertring {

/// Which side of the pairs a kernel's thread blocks own, hence which results they add to.
enum class Owner { kQueries, kKeys };

/// Tile sizes decide bits: other tiles are cut from a run's first row on, a grid that depends on nothing but the block. Own tiles do not matter.
struct TileRows {
  std::int32_t own = 64;
  std::int32_t other = 64;
  /// Heads follow each other in a launch, because a head's tiles read the same rows; but as many as have so many tiles go together, the longest tiles
  /// first, so that a launch ends with short ones.
  std::int64_t tiles_at_once = 1;

  friend bool operator==(TileRows, TileRows) = default;
};

/// All that a call of the kernels does, flat, as it is uploaded. Tiles of one launch share no rows of results; launches run one after the other.
struct WorkList {
  std::vector<WorkTile> tiles;
  std::vector<std::int64_t> launch_ends;  ///< launch i has tiles [launch_ends[i - 1], launch_ends[i])
  std::vector<OwnRun> own_runs;
  std::vector<Meeting> meetings;
  std::vector<ExtremesTask> extremes;  ///< only with sequence causality
  std::vector<std::uint32_t> mask_words;
  std::vector<std::int64_t> strides;  ///< of runs on either side, each once
  /// Of all heads and batch elements; with sequence causality, where times lie on the device, 0: the kernels count.
  std::int64_t num_allowed_pairs = 0;
};

/// Every own row meets its blocks in the order of the pairs, of a pair's branches, of the heads of a group and of a branch's blocks. Where own runs
/// overlap they are cut into pieces that meet what each run meets, in one launch; where that would waste too much of the tiles, blocks whose own runs
/// are equal go to one launch, one after the other, and a new launch begins where own runs overlap otherwise. Bits are the same either way.
/// Throws usage_error where a chunk has more rows than a kernel can count (2^31).
WorkList make_work_list(const Pattern& pattern, std::span<const ChunkPair> pairs, Owner owner, TileRows tile_rows);

}  // namespace hilbertring

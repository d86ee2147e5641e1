#pragma once

#include <cstddef>
#include <cstdint>

namespace hilbertring {

/// Rows of either side in a block of score gradients, and its bytes.
inline constexpr std::int64_t kScoreBlockRows = 64;
inline constexpr std::int64_t kScoreBlockBytes = kScoreBlockRows * kScoreBlockRows * 2;

/// Device memory for them at a time, unless told otherwise.
inline constexpr std::int64_t kScoreGradientBytes = std::int64_t{1} << 30;

/// Where the kernel that owns keys leaves the gradients of scores (dS, rounded to the inputs' type), and the kernel that owns queries finds them,
/// instead of computing them once more: [planes, key blocks, query blocks] of blocks [64 keys, 64 queries], whose rows of 128 bytes are swizzled as
/// products read them. A plane is a query head of a batch element.
struct ScoreGradients {
  std::byte* blocks = nullptr;  ///< device; null: they are not kept
  std::int64_t first_query_row = 0, first_key_row = 0;
  std::int32_t first_plane = 0, num_key_blocks = 0, num_query_blocks = 0;

  /// Number of the block that begins at these rows.
  constexpr std::int64_t block_of(std::int32_t plane, std::int64_t query_row, std::int64_t key_row) const {
    return (std::int64_t{plane - first_plane} * num_key_blocks + (key_row - first_key_row) / kScoreBlockRows) * num_query_blocks +
           (query_row - first_query_row) / kScoreBlockRows;
  }
};

}  // namespace hilbertring

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/block_attention.h"
#include "core/cuda/score_gradients.h"

namespace hilbertring {

/// Some of a call's pairs, whose score gradients are kept, round by round.
struct BackwardPanel {
  std::vector<ChunkPair> pairs;
  ScoreGradientRounds rounds;  ///< but for memory and tiles
};

/// Cuts a call into panels that, folded one after the other, give the bits of the whole call, and need at most `max_bytes` for score gradients. Empty
/// where score gradients can't be kept: rows must be met in whole tiles, so every pair of chunks must be one product of all their rows, chunks must
/// begin `tile_rows` rows or a multiple apart, and causality, if any, must go by positions.
std::vector<BackwardPanel> backward_panels(const Pattern& pattern, std::span<const ChunkPair> pairs, std::int64_t tile_rows, std::int64_t max_bytes);

}  // namespace hilbertring

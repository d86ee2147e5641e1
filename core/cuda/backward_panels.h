#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/block_attention.h"
#include "core/cuda/score_gradients.h"

namespace hilbertring {

/// Some of a call's pairs, whose score gradients are kept between the kernel of keys and that of queries, and for how many planes at a time.
struct BackwardPanel {
  std::vector<ChunkPair> pairs;
  ScoreGradients place;                  ///< of planes from 0 on, without memory
  std::int64_t kv_planes_at_a_time = 1;  ///< a plane: a head of a batch element
};

/// Cuts a call into panels that, folded one after the other, give the bits of the whole call. Empty where score gradients can't be kept: rows must be
/// met in whole tiles, so every pair of chunks must be one product of all their rows, chunks must begin `tile_rows` rows or a multiple apart, and
/// causality, if any, must go by positions.
std::vector<BackwardPanel> backward_panels(const Pattern& pattern, std::span<const ChunkPair> pairs, std::int64_t tile_rows, std::int64_t max_bytes);

}  // namespace hilbertring

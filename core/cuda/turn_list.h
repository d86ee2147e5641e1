#pragma once

#include <span>

#include "core/cuda/work_list.h"

namespace hilbertring {

/// The work of the kernel whose thread blocks own keys and add to dK, dV and, in turn, to dQ (turns.h): `tile_rows` are kTurnKeyRows, kTurnQueryRows.
/// For dense patterns without sequence causality. Tiles are listed so that whoever waits for a turn waits for a tile before it, or of its group: they
/// must begin in that order. Throws usage_error where a chunk has more rows than a kernel can count (2^31), and where under causality by position a
/// query chunk and a key chunk overlap but are not equal.
WorkList make_turn_list(const Pattern& pattern, std::span<const ChunkPair> pairs, TileRows tile_rows);

}  // namespace hilbertring

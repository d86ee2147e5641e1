#pragma once

#include <string_view>

namespace hilbertring {

/// Which side of the attention travels. kKvUp: keys and values (backward: with dk, dv) visit rank + 1, rank + 2, ...; kQueryDown (backward only):
/// q, do, lse, delta (with dq) visit rank - 1, rank - 2, ... By the fold law, bits are the same either way.
enum class Rotation { kKvUp, kQueryDown };

constexpr std::string_view to_string(Rotation rotation) { return rotation == Rotation::kKvUp ? "KV up" : "Q down"; }

}  // namespace hilbertring

#pragma once

#include <cstdint>

namespace hilbertring {

/// Which tensor a number belongs to, so that q and k of one seed differ.
enum class TensorId : std::uint32_t { kQ = 0, kK = 1, kV = 2, kDo = 3 };

/// Element `index` (row-major, in sequence order) of a tensor of standard normal numbers: a pure function of its arguments, integer arithmetic and
/// exact float64 operations only, hence the same bits on every machine and on every rank that makes any slice.
double normal_at(std::uint64_t seed, TensorId tensor, std::int64_t index);

/// 64 random bits for a counter (Philox-4x32-10), for tests that draw specifications.
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);

}  // namespace hilbertring

#pragma once

#include <array>
#include <cstdint>

namespace hilbertring {

/// Which tensor a number belongs to, so that q and k of one seed differ.
enum class TensorId : std::uint32_t { kQ = 0, kK = 1, kV = 2, kDo = 3 };

/// Element `index` (row-major, in sequence order) of a tensor of standard normal numbers: a pure function of its arguments, integer arithmetic and
/// exactly rounded float64 operations only (+ - * / sqrt), hence the same bits on every machine and on every rank that makes any slice.
/// Within 1e-10 of the exact quantile; the largest magnitude is 8.3. `index` >= 0.
double normal_at(std::uint64_t seed, TensorId tensor, std::int64_t index);

/// 64 random bits for a counter (Philox-4x32-10), for tests that draw specifications. Streams below 2^32 share no bits with `normal_at`.
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter);

/// The generator below both: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

}  // namespace hilbertring

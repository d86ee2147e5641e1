#pragma once

#include <cstdint>
#include <vector>

namespace hilbertring {

/// A permutation of 0 .. n-1 that looks random: a Feistel network of six rounds over the smallest even number of bits that holds n, its round
/// function Philox keyed by the seed; values beyond n are sent through it again until they fall below. Pure: the same on every machine and rank.
std::vector<std::int64_t> random_order(std::int64_t n, std::uint64_t seed);

}  // namespace hilbertring

#include "drivers/random_order.h"

#include <bit>

#include "core/random.h"

namespace hilbertring {

namespace {

class FeistelPermutation {
 public:
  FeistelPermutation(std::int64_t n, std::uint64_t seed)
      : n_(static_cast<std::uint64_t>(n)),
        seed_(seed),
        half_bits_(static_cast<int>(std::bit_width(n_ - 1) + 1) / 2),
        half_mask_((std::uint64_t{1} << half_bits_) - 1) {}

  /// Following the cycle through values outside 0 .. n-1 keeps the map one-to-one on what is inside.
  std::int64_t operator()(std::int64_t value) const {
    auto image = static_cast<std::uint64_t>(value);
    do {
      image = encrypted(image);
    } while (image >= n_);
    return static_cast<std::int64_t>(image);
  }

 private:
  static constexpr std::uint64_t kNumRounds = 6;

  std::uint64_t encrypted(std::uint64_t value) const {
    std::uint64_t left = value >> half_bits_;
    std::uint64_t right = value & half_mask_;
    for (std::uint64_t round = 0; round < kNumRounds; ++round) {
      const std::uint64_t mixed = left ^ (random_bits(seed_, round, right) & half_mask_);
      left = right;
      right = mixed;
    }
    return left << half_bits_ | right;
  }

  std::uint64_t n_;
  std::uint64_t seed_;
  int half_bits_;
  std::uint64_t half_mask_;
};

}  // namespace

std::vector<std::int64_t> random_order(std::int64_t n, std::uint64_t seed) {
  const FeistelPermutation permutation(n, seed);
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
#pragma omp parallel for
  for (std::int64_t position = 0; position < n; ++position) order[static_cast<std::size_t>(position)] = permutation(position);
  return order;
}

}  // namespace hilbertring

#include "core/random.h"

#include <cmath>

#include "core/random_math.h"

namespace hilbertring {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  return random_math::philox_block(counter, key);
}

double normal_at(std::uint64_t seed, TensorId tensor, std::int64_t index) {
  const auto words = random_math::normal_block(seed, static_cast<std::uint32_t>(tensor), static_cast<std::uint64_t>(index) / 2);
  return random_math::normal_of(words, index % 2 != 0, [](double x) { return std::sqrt(x); });
}

std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
  using namespace random_math;
  const Counter words = philox_block({low_word(counter), high_word(counter), low_word(stream), high_word(stream)}, {low_word(seed), high_word(seed)});
  return joined(words[0], words[1]);
}

}  // namespace hilbertring

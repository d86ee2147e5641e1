#include "io/finite.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/dataset_shape.h"

namespace hilbertring {
namespace {

/// In all four formats a number is NaN or infinite if and only if all bits of its exponent are set.
template <class Bits, Bits kExponent>
std::optional<std::int64_t> first_with_full_exponent(std::span<const std::byte> elements) {
  // Blocks without an early exit inside become SIMD code; only a block with a hit is searched.
  constexpr std::int64_t kBlock = 2048;
  const auto count = static_cast<std::int64_t>(elements.size() / sizeof(Bits));
  const auto load = [&](std::int64_t i) {
    Bits bits;
    std::memcpy(&bits, elements.data() + i * static_cast<std::int64_t>(sizeof(Bits)), sizeof(Bits));
    return static_cast<Bits>(bits & kExponent);
  };
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, count);
    Bits largest = 0;
    for (std::int64_t i = begin; i < end; ++i) largest = std::max(largest, load(i));
    if (largest != kExponent) continue;
    for (std::int64_t i = begin; i < end; ++i) {
      if (load(i) == kExponent) return i;
    }
  }
  return std::nullopt;
}

std::string print_nonfinite(double value) { return std::isnan(value) ? "NaN" : value < 0 ? "-infinity" : "infinity"; }

}  // namespace

std::optional<std::int64_t> first_nonfinite(ElementType type, std::span<const std::byte> elements) {
  switch (type) {
    case ElementType::kFloat16: return first_with_full_exponent<std::uint16_t, 0x7c00>(elements);
    case ElementType::kBfloat16: return first_with_full_exponent<std::uint16_t, 0x7f80>(elements);
    case ElementType::kFloat32: return first_with_full_exponent<std::uint32_t, 0x7f800000>(elements);
    case ElementType::kFloat64: break;
  }
  return first_with_full_exponent<std::uint64_t, 0x7ff0000000000000>(elements);
}

void check_finite(const CaseFile& file, TensorName name, Range<SequenceIndex> tokens, std::span<const std::byte> rows) {
  const auto& infos = file.datasets();
  const auto info = std::find_if(infos.begin(), infos.end(), [&](const DatasetInfo& dataset) { return dataset.name == name; });
  const std::string what = file.path() + ": '/" + std::string(to_string(name)) + "'";
  if (info == infos.end()) throw input_error(what + " is missing");
  token_slab(name, info->shape, tokens, size_bytes(info->type), rows.size(), what);
  const auto found = first_nonfinite(info->type, rows);
  if (!found) return;
  // rows: [B, end - begin, heads, D]
  std::vector<std::int64_t> index = info->shape;
  index[1] = tokens.size();
  std::int64_t rest = *found;
  for (std::size_t dimension = index.size(); dimension-- > 0;) {
    const std::int64_t size = index[dimension];
    index[dimension] = rest % size;
    rest /= size;
  }
  index[1] += tokens.begin.value;
  const std::string value = print_nonfinite(load_element(rows.data(), info->type, *found));
  throw input_error(what + " holds " + value + " at " + print_shape(index) + " ([b, n, h, d]); all inputs must be finite");
}

}  // namespace hilbertring
